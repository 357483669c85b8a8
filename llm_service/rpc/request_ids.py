"""What a `request_id` may be (AIP-155)."""

import re
from uuid import UUID

_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def is_request_id(text: str) -> bool:
    """A UUID written as usual; and not the one of zeros, which is what a forgotten value is."""
    return _UUID.fullmatch(text) is not None and UUID(text).int != 0
