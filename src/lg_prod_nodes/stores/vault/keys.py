"""The vault's keys, each made of the one above it.

master key           the team's own, in no database
└── seals the root key, one random key a vault
    └── names the subjects, seals the subject keys, one random key a subject: what `forget` destroys
        └── names the subject's values, which makes their tokens, and seals them
"""

from __future__ import annotations

import hmac
import os
from typing import TYPE_CHECKING

from lg_prod_nodes.core.errors import ConfigurationError, VaultTampered

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12
_SHA256_BYTES = 32


class Key:
    """Names and seals things under a secret, which it does not show.

    Args:
        secret: `KEY_BYTES` random bytes.

    Raises:
        ConfigurationError: The extra `vault` is missing.
    """

    __slots__ = ("_cipher", "_naming")

    def __init__(self, secret: bytes) -> None:
        self._naming = derive(secret, b"lg_prod_nodes vault: naming")
        self._cipher = _aes_gcm(derive(secret, b"lg_prod_nodes vault: sealing"))

    def name(self, what: bytes) -> bytes:
        """Always the same digest (HMAC-SHA256) of the same thing; without the secret it reveals nothing."""
        return hmac.digest(self._naming, what, "sha256")

    def seal(self, plain: bytes, *, bound_to: bytes) -> bytes:
        """Encrypt and sign with AES-256-GCM.

        The nonce is random, which NIST SP 800-38D (8.2.2, 8.3) allows for 2**32 seals under one key.

        Args:
            plain: What to encrypt.
            bound_to: Where the sealed bytes belong; they do not open anywhere else.
        """
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, bound_to)

    def open(self, sealed: bytes, *, bound_to: bytes) -> bytes:
        """What was sealed.

        Raises:
            VaultTampered: It was not sealed under this key, not for this use, or it was changed.
        """
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound_to)
        except (InvalidTag, ValueError):  # the latter for what is too short to have a nonce
            raise VaultTampered from None


def new_secret() -> bytes:
    """The secret of a new key."""
    return os.urandom(KEY_BYTES)


def derive(secret: bytes, purpose: bytes) -> bytes:
    """A secret for one purpose: HKDF-SHA256 of RFC 5869 without salt, of one block."""
    extracted = hmac.digest(bytes(_SHA256_BYTES), secret, "sha256")
    return hmac.digest(extracted, purpose + b"\x01", "sha256")


def _aes_gcm(secret: bytes) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise ConfigurationError(
            "a vault needs an extra: pip install 'lg-prod-nodes[vault]'"
        ) from error
    return AESGCM(secret)
