"""JSON from servers that cut text by UTF-16 units, and so a character outside the BMP in two."""

import json


def mended(data: bytes) -> bytes:
    """The same JSON with U+FFFD for each half of a surrogate pair.

    Raises:
        ValueError: it is no JSON for another reason.
        RecursionError: it is nested too deep.
    """
    text = json.dumps(json.loads(data), ensure_ascii=False)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
