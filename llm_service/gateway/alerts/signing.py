"""Signing of webhooks as Standard Webhooks 1.0 has it: symmetric, "v1".

See https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md.
"""

import base64
import binascii
import hashlib
import hmac
import os

PREFIX = "whsec_"
MIN_BYTES, MAX_BYTES = 24, 64
"""How long a secret may be, from the specification."""

_MADE_BYTES = 32


def new_secret() -> str:
    return PREFIX + base64.b64encode(os.urandom(_MADE_BYTES)).decode()


def is_secret(text: str) -> bool:
    """Whether it is a secret in the specification's form: "whsec_" and base64."""
    try:
        return text.startswith(PREFIX) and MIN_BYTES <= len(_key(text)) <= MAX_BYTES
    except (binascii.Error, ValueError):
        return False


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The webhook-signature header. `timestamp` is in seconds of Unix time, as the header says."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
