"""Secrets that other systems sealed with a bare Fernet key, for whoever imports them."""

from contextlib import suppress

from cryptography.fernet import Fernet, InvalidToken

from llm_service.errors import ProviderCredentialUnreadable
from llm_service.vault.keyring import BadKeyring


def open_legacy_fernet(token: str, raw_key: str) -> str:
    """Open a plain Fernet token with the key as it was given to the system that made it.

    Nothing is derived from the key, and the token is bound to no row. Its age does not matter.

    Raises:
        BadKeyring: the key is not 32 bytes in base64.
        ProviderCredentialUnreadable: the token is no token of that key, or holds no text.
    """
    with suppress(InvalidToken, UnicodeError):
        return _fernet(raw_key).decrypt(token.strip().encode()).decode()
    # Outside the handler: a UnicodeDecodeError carries the whole secret.
    raise ProviderCredentialUnreadable("the stored secret was not sealed with the key given for it")


def _fernet(raw_key: str) -> Fernet:
    with suppress(ValueError):
        return Fernet(raw_key.strip())
    raise BadKeyring("the key is not a Fernet key: 32 bytes in url-safe base64")
