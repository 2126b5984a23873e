"""Hide DSNs, URLs and keys from logs, errors and tracebacks with pydantic's `SecretStr`."""

from __future__ import annotations

from typing import TypeVar

from pydantic import SecretBytes, SecretStr

from lg_prod_nodes.core.errors import ConfigurationError

Secret = str | SecretStr
"""A DSN or URL."""

SecretKey = bytes | SecretBytes | SecretStr
"""A key: bytes, or hexadecimal digits if given as a `SecretStr`, as in settings."""

MAKE_KEY = 'python -c "import secrets; print(secrets.token_hex(32))"'
"""The command that generates a hexadecimal key."""

E = TypeVar("E", bound=BaseException)


def hidden(secret: Secret) -> SecretStr:
    """Return a secret that logs, errors and tracebacks show as stars."""
    return secret if isinstance(secret, SecretStr) else SecretStr(secret)


def revealed(secret: Secret) -> str:
    """Return the plain secret. Pass it on at once; do not assign it to a variable."""
    return secret.get_secret_value() if isinstance(secret, SecretStr) else secret


def key_of(name: str, key: SecretKey) -> bytes:
    """Return the bytes of a key.

    Raises:
        ConfigurationError: A `SecretStr` is not hexadecimal.
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
    """Return the scheme of a URL, or an empty string if it has none."""
    text = revealed(url)
    return text.partition("://")[0] if isinstance(text, str) and "://" in text else ""


def bare(error: E) -> E:
    """Remove the frames from an error and its causes, since a driver's frames hold the password in variables."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
