"""Ids of tool calls, shaped for a vendor that takes fewer than others give."""

import hashlib

from llm_service.providers.chat.dialect import CallIds

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def shaped(call_id: str, rule: CallIds) -> str:
    """The id if the vendor takes it, else always the same other one: call and result agree."""
    if rule.taken.fullmatch(call_id):
        return call_id
    number = int.from_bytes(hashlib.sha256(call_id.encode()).digest())
    letters = []
    for _ in range(rule.length):
        number, letter = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[letter])
    return "".join(letters)
