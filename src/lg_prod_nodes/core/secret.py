"""Secrets that do not show: what a caller gives as a DSN, a URL or a key is kept as pydantic's `SecretStr`."""

from __future__ import annotations

from typing import TypeVar

from pydantic import SecretBytes, SecretStr

from lg_prod_nodes.core.errors import ConfigurationError

Secret = str | SecretStr
"""A DSN or URL."""

SecretKey = bytes | SecretBytes | SecretStr
"""A key; as `SecretStr` it is written in hexadecimal digits, as settings have it."""

MAKE_KEY = 'python -c "import secrets; print(secrets.token_hex(32))"'
"""The command that makes a key in that form."""

E = TypeVar("E", bound=BaseException)


def hidden(secret: Secret) -> SecretStr:
    """A secret that logs, errors and tracebacks show as stars."""
    return secret if isinstance(secret, SecretStr) else SecretStr(secret)


def revealed(secret: Secret) -> str:
    """The secret itself: to be handed on where it is needed, and to be kept in no variable."""
    return secret.get_secret_value() if isinstance(secret, SecretStr) else secret


def key_of(name: str, key: SecretKey) -> bytes:
    """The bytes of a key.

    Raises:
        ConfigurationError: A text is not of hexadecimal digits.
    """
    if isinstance(key, SecretBytes):
        return key.get_secret_value()
    if not isinstance(key, SecretStr):
        return key
    try:
        return bytes.fromhex(key.get_secret_value())
    except ValueError:
        raise ConfigurationError(
            f"{name} is not of hexadecimal digits; make one with {MAKE_KEY}"
        ) from None


def scheme_of(url: Secret) -> str:
    """What is before the `://` of a URL, nothing where there is none."""
    text = revealed(url)
    return text.partition("://")[0] if isinstance(text, str) and "://" in text else ""


def bare(error: E) -> E:
    """An error, and those that led to it, without their frames: a driver's have the password in their variables."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
