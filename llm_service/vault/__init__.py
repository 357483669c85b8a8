"""Sealing and opening secrets: a key ring, two named schemes, ciphertexts bound to their row.

A sealed secret is one line of ASCII that describes itself:

    sealed2:<scheme>:<key id>:<payload, url-safe base64>

`sealed2` fixes layout and context; the key id selects the key, so no key is ever tried on a
ciphertext that is not its own.

Context: the fields "llm-service", deployment id, table, column, tenant, provider uid, row uid,
secret version (decimal), scheme, key id and origin, each as a 4-byte big-endian length and UTF-8
bytes. `sealed1` is the same without the origin: still opened, and sealed where there is none.

fernet-v1, AES-128-CBC with HMAC-SHA256: the payload is a Fernet token of the context (itself
length-prefixed) followed by the secret. The context is compared after decryption.

aes256gcm-v1: the payload is nonce (12) | wrapped data key (48) | nonce (12) | ciphertext and tag.
A random 256-bit data key seals the secret and is itself sealed by the ring's 256-bit key, both
with AES-256-GCM and the context as associated data.

A ring key encrypts nothing itself: HKDF-SHA256 derives one key for each purpose.
"""

from llm_service.vault.ciphers import Scheme, generate_key
from llm_service.vault.keeping import Unreadable, open_answer, seal_answer
from llm_service.vault.key_file import (
    add_key,
    load_key_file,
    load_or_create_key_file,
    promote_key,
    remove_key,
)
from llm_service.vault.keyring import BadKeyring, Keyring
from llm_service.vault.legacy import open_legacy_fernet
from llm_service.vault.sealing import MAX_SECRET_BYTES, Binding, Vault

__all__ = [
    "MAX_SECRET_BYTES",
    "BadKeyring",
    "Binding",
    "Keyring",
    "Scheme",
    "Unreadable",
    "Vault",
    "add_key",
    "generate_key",
    "load_key_file",
    "load_or_create_key_file",
    "open_answer",
    "open_legacy_fernet",
    "promote_key",
    "remove_key",
    "seal_answer",
]
