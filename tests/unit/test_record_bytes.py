"""What the journal holds and what waits for the database: bytes that come back as they were."""

from dataclasses import fields
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.completion import (
    Attempt,
    Attribution,
    CallError,
    Cost,
    CostItem,
    FinishReason,
    ModalityTokens,
    ProviderToolUse,
    ServedBy,
    TokenUsage,
)
from llm_service.domain.content import Modality
from llm_service.domain.provider import Price, PriceItem
from llm_service.domain.usage import (
    AttemptProgress,
    OpenedAttempt,
    Operation,
    UsageRecord,
    UsageSource,
)
from llm_service.storage import frames, positional

DRAWN = {
    "str": st.text(max_size=20),
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False),
    "bool": st.booleans(),
    "datetime": st.datetimes(timezones=st.just(UTC)),
    "Mapping[str, str]": st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    **{kind.__name__: st.sampled_from(kind) for kind in (FinishReason, Modality, Operation)},
    "UsageSource": st.sampled_from(UsageSource),
}


def drawn(annotation: object) -> st.SearchStrategy[object]:
    text = getattr(annotation, "__name__", None) if isinstance(annotation, type) else None
    text = text or str(annotation).replace("collections.abc.", "")
    optional = text.endswith(" | None")
    name = text.removesuffix(" | None").rpartition(".")[2] if "[" not in text else text
    if name.startswith("tuple["):
        one = name.removeprefix("tuple[").removesuffix(", ...]").rpartition(".")[2]
        return st.lists(DRAWN[one], max_size=3).map(tuple)
    return st.none() | DRAWN[name] if optional else DRAWN[name]


def every_field_of(kind: type) -> st.SearchStrategy[object]:
    """No field is left at its default, so that a new one is drawn too."""
    return st.builds(kind, **{one.name: drawn(one.type) for one in fields(kind)})


for kind in (
    Attribution,
    ServedBy,
    CallError,
    ModalityTokens,
    ProviderToolUse,
    TokenUsage,
    CostItem,
    Cost,
    Attempt,
    PriceItem,
    Price,
):
    DRAWN[kind.__name__] = every_field_of(kind)


BEFORE = msgspec.msgpack.Encoder().encode
"""As the journal had them when it wrote the fields' names: a process of then may have died."""


@given(every_field_of(UsageRecord))
def test_a_record_comes_back_from_its_bytes_as_it_was(settled):
    assert frames.record(frames.settled(settled)) == settled
    assert frames.record(BEFORE(settled)) == settled


@given(every_field_of(OpenedAttempt), every_field_of(AttemptProgress))
def test_an_open_attempt_comes_back_from_its_bytes_as_it_was(opened, progress):
    for encoded in (frames.opened, BEFORE):
        read = frames.unsettled(encoded(opened), frames.progress(progress))
        assert (read.opened, read.progress) == (opened, progress)


def test_what_an_earlier_release_wrote_lacks_what_has_been_added_at_the_end():
    when = datetime(2026, 11, 28, tzinfo=UTC)
    record = ["r", "c", ["acme"], [["p", "m"], when, 0.5, ["TIMEOUT", "late"], [3], [7]], when]
    read = frames.record(BEFORE(record))
    assert read == UsageRecord(
        "r",
        "c",
        Attribution("acme"),
        Attempt(
            ServedBy("p", "m"), when, 0.5, CallError("TIMEOUT", "late"), TokenUsage(3), Cost(7)
        ),
        when,
    )
    opened = ["a", "c", ["acme"], ["p", "m"], when, "chat", "t", 5, ["v1", [["input-tokens", 2]]]]
    read = frames.unsettled(BEFORE(opened), None).opened
    price = Price("v1", (PriceItem("input-tokens", 2),))
    who, target = Attribution("acme"), ServedBy("p", "m")
    assert read == OpenedAttempt("a", "c", who, target, when, Operation.CHAT, "t", 5, price)


def test_what_a_later_release_adds_at_the_end_is_left_out():
    when = datetime(2026, 11, 28, tzinfo=UTC)
    attempt = Attempt(ServedBy("p", "m"), when, 0.5, usage=TokenUsage(3))
    record = UsageRecord("r", "c", Attribution("acme"), attempt, when, attempt_id="a")
    [*now] = positional.plain(record)
    now[2] = (*now[2], "added")
    assert frames.record(BEFORE([*now, "added"])) == record


WRITTEN = (
    # a record
    "9da172a16396a461636d65a56167656e74a475736572ab696e746572616374696f6ea773657373696f6e81a1"
    "61a1629696a170a16da16ba3677074a3726571a6636f6e666967d7ff3b9aca006b0ac957cb3fe00000000000"
    "0095a754494d454f5554a46c617465cb3ff8000000000000cd01f8a4636f64659a010203040590c306900797"
    "089194a2696e090aa27631a27631c3c20bd7ff3b9aca006b0ac957d7ff3b9aca006b0ac957a473746f70a754"
    "494d454f5554a57472616365cb3fd0000000000000a463686174a870726f7669646572a161d7ff3b9aca006b"
    "0ac957",
    # an opened attempt
    "9aa161a16396a461636d65a56167656e74a475736572ab696e746572616374696f6ea773657373696f6e81a1"
    "61a16296a170a16da16ba3677074a3726571a6636f6e666967d7ff3b9aca006b0ac957a463686174a5747261"
    "63650593a276319193a2696e0203d7ff3b9aca006b0ac957d7ff3b9aca006b0ac957",
)


def test_the_order_of_what_is_written_stays():
    """These bytes are in journals: a value whose fields change places would be another."""
    when = datetime(2026, 11, 28, 12, 30, 15, 250000, tzinfo=UTC)
    attempt = Attempt(
        ServedBy("p", "m", "k", "gpt", "req", "config"),
        when,
        0.5,
        CallError("TIMEOUT", "late", 1.5, 504, "code"),
        TokenUsage(1, 2, 3, 4, 5, (), True, 6, (), 7),  # noqa: FBT003 - in order
        Cost(8, (CostItem("in", 9, 10, "v1"),), "v1", True, False, 11, when),  # noqa: FBT003
    )
    who = Attribution("acme", "agent", "user", "interaction", "session", {"a": "b"})
    record = UsageRecord(
        "r",
        "c",
        who,
        attempt,
        when,
        FinishReason.STOP,
        "TIMEOUT",
        "trace",
        0.25,
        Operation.CHAT,
        UsageSource.PROVIDER,
        "a",
        when,
    )
    price = Price("v1", (PriceItem("in", 2, 3),), when)
    target = attempt.target
    opened = OpenedAttempt("a", "c", who, target, when, Operation.CHAT, "trace", 5, price, when)

    assert (frames.settled(record).hex(), frames.opened(opened).hex()) == WRITTEN


@pytest.mark.parametrize("payload", [b"", b"\x90", b"\x80", b"\xc0", b"\xdc\xff\xff", b"nothing"])
def test_bytes_that_are_nothing_of_the_kind_are_said_to_be(payload):
    for read in (frames.record, lambda opened: frames.unsettled(opened, None)):
        with pytest.raises(msgspec.MsgspecError):
            read(payload)
