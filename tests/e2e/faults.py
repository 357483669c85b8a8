"""Sixteen ways a provider misbehaves, after Failover Bench's catalogue, in every dialect."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from every_vendor import Kind
from fakes.said import Finish, Said
from vendor_server import Asked, Reply

WORDS = " ".join(f"word{number}" for number in range(60))
WHOLE = Said(text=WORDS, pieces=60)
CUT_AT, STALL_AT, GARBLE_AT = 2 / 3, 1 / 3, 10


@dataclass(frozen=True)
class Fault:
    """What the first choice does, attempt by attempt; the last is what it does from then on.

    `rescued`: the caller is to have the whole answer, else a clean word that there is none.
    """

    id: str
    title: str
    does: Callable[[Kind], list]
    rescued: bool = True
    most_attempts: int = 2
    least_gap_seconds: float = 0


class Script(list):
    """What a vendor does, attempt by attempt, and when it was asked."""

    def __init__(self, steps) -> None:
        super().__init__(steps)
        self.at: list[float] = []

    def pop(self, _place=-1):
        self.at.append(time.monotonic())
        return self[min(len(self.at), len(self)) - 1]


def well(kind: Kind) -> Callable[[Asked], Reply]:
    return lambda asked: kind.fake.stream(WHOLE, asked)


def spoilt(kind: Kind, spoil: Callable[[Reply], Reply]) -> Callable[[Asked], Reply]:
    return lambda asked: spoil(kind.fake.stream(WHOLE, asked))


def refused(kind: Kind, status: int, **headers: str) -> Reply:
    """In the vendor's own words where it has some for it."""
    names = {429: "rate_limit", 500: "server_error", 503: "overloaded", 400: "context_length"}
    said = kind.fake.error(names[status])
    kept = {name: value for name, value in said.headers.items() if name != "retry-after"}
    return replace(said, headers=kept | {n.replace("_", "-"): v for n, v in headers.items()})


def cut(reply: Reply) -> Reply:
    return replace(reply, pieces=reply.pieces[: int(len(reply.pieces) * CUT_AT)], cut=True)


def stalled(reply: Reply) -> Reply:
    return replace(reply, pieces=reply.pieces[: int(len(reply.pieces) * STALL_AT)], held=True)


def garbled(reply: Reply) -> Reply:
    """One event is not what its frame says."""
    pieces = list(reply.pieces)
    piece = pieces[GARBLE_AT]
    text = piece.replace(b'"', b"", 1)
    framed = reply.headers["content-type"] == "application/vnd.amazon.eventstream"
    pieces[GARBLE_AT] = piece[:-6] + bytes((piece[-6] ^ 1,)) + piece[-5:] if framed else text
    return replace(reply, pieces=pieces)


def unfinished(reply: Reply) -> Reply:
    return replace(reply, pieces=reply.pieces[:-1])


def filtered(kind: Kind) -> Callable[[Asked], Reply]:
    said = Said(finish=Finish.CONTENT_FILTER)
    return lambda asked: kind.fake.stream(said, asked)


def late(reply: Reply) -> Reply:
    return replace(reply, seconds=20)


FAULTS = {
    fault.id: fault
    for fault in (
        Fault(
            "S01",
            "429 with Retry-After",
            lambda kind: [refused(kind, 429, retry_after="2"), well(kind)],
            least_gap_seconds=1.8,
        ),
        Fault("S02", "429 for ever, no Retry-After", lambda kind: [refused(kind, 429)]),
        Fault("S03", "500 once", lambda kind: [refused(kind, 500), well(kind)]),
        Fault("S04", "503 for ever", lambda kind: [refused(kind, 503)]),
        Fault("S05", "reset before headers", lambda kind: [Reply(broken=True), well(kind)]),
        Fault("S06", "no response", lambda _: [Reply(silent=True)], most_attempts=1),
        Fault("S07", "slow first token", lambda kind: [spoilt(kind, late)], most_attempts=1),
        Fault("S08", "stream cut", lambda kind: [spoilt(kind, cut)]),
        Fault("S09", "stream stalls", lambda kind: [spoilt(kind, stalled)], most_attempts=1),
        Fault("S10", "malformed event", lambda kind: [spoilt(kind, garbled)]),
        Fault("S11", "last event missing", lambda kind: [spoilt(kind, unfinished)]),
        Fault("S12", "context too long", lambda kind: [refused(kind, 400)], most_attempts=1),
        Fault(
            "S13",
            "content filter",
            lambda kind: [filtered(kind)],
            rescued=False,
            most_attempts=1,
        ),
        Fault("S14", "fallback takes no prefill", lambda kind: [spoilt(kind, cut)]),
        Fault("S15", "flapping primary", lambda kind: [refused(kind, 503)], most_attempts=1000),
        Fault("S16", "failover accounting", lambda kind: [refused(kind, 503)]),
    )
}
