"""What the journal holds and what waits for the database: bytes that come back as they were."""

from dataclasses import fields
from datetime import UTC

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
from llm_service.storage import frames

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


@pytest.mark.parametrize("payload", [b"", b"\x90", b"\x80", b"\xc0", b"\xdc\xff\xff", b"nothing"])
def test_bytes_that_are_nothing_of_the_kind_are_said_to_be(payload):
    for read in (frames.record, lambda opened: frames.unsettled(opened, None)):
        with pytest.raises(msgspec.MsgspecError):
            read(payload)
