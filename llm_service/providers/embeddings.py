"""Embedding in batches: which inputs go together, and how what comes back is joined again."""

import base64
import sys
from array import array
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llm_service.domain.completion import TokenUsage, Warning
from llm_service.domain.content import Text
from llm_service.errors import GatewayError, ProviderProtocolError
from llm_service.providers import checks
from llm_service.providers.base import Embeddings, EmbeddingsCall
from llm_service.providers.lenient import MOST_TOKENS

# UTF-8 bytes per token, on the safe side: few texts have more tokens than a third of their bytes.
_BYTES_PER_TOKEN = 3


@dataclass(frozen=True, slots=True)
class Batch:
    """What one request brought: the vectors of its inputs, in order.

    `input_tokens` None: the vendor did not say.
    """

    vectors: tuple[Sequence[float], ...]
    input_tokens: int | None
    model: str = ""


def texts(call: EmbeddingsCall, kind: str) -> tuple[str, ...]:
    """The inputs, for an API that embeds text only.

    Raises:
        CapabilityNotSupported: one is not text; names its path and the model.
    """
    said = []
    for number, given in enumerate(call.inputs):
        if not isinstance(given, Text):
            what = f"embeds text and no {checks.name_of(given)}"
            raise checks.not_supported(kind, call.provider_model, f"inputs[{number}]", what)
        said.append(given.text)
    return tuple(said)


def split(inputs: Sequence[str], max_inputs: int = 0, max_tokens: int = 0) -> list[tuple[str, ...]]:
    """The inputs in groups that one request takes each; 0: no limit.

    Tokens are estimated. An input over the limit goes alone, for the vendor to judge.
    """
    groups: list[list[str]] = []
    tokens = 0
    for text in inputs:
        size = len(text.encode()) // _BYTES_PER_TOKEN + 1
        full = bool(groups and max_inputs and len(groups[-1]) >= max_inputs)
        if not groups or full or (max_tokens and tokens + size > max_tokens):
            groups.append([])
            tokens = 0
        groups[-1].append(text)
        tokens += size
    return [tuple(group) for group in groups]


async def embed(
    groups: Sequence[tuple[str, ...]],
    ask: Callable[[tuple[str, ...]], Awaitable[Batch]],
    warnings: tuple[Warning, ...] = (),
) -> Embeddings:
    """Ask for one group after another; a failure of one is a failure of all.

    Raises:
        ProviderProtocolError: a group came back with more or fewer vectors than it has inputs.
    """
    batches: list[Batch] = []
    for group in groups:
        with charged(batch.input_tokens for batch in batches):
            batches.append(await ask(group))
        if len(batches[-1].vectors) != len(group):
            raise ProviderProtocolError("the provider sent a vector too few or too many")
    vectors = tuple(vector for batch in batches for vector in batch.vectors)
    model = next((batch.model for batch in batches if batch.model), "")
    return Embeddings(vectors, usage([batch.input_tokens for batch in batches]), model, warnings)


@contextmanager
def charged(tokens: Iterable[int | None]) -> Iterator[None]:
    """Have a failure in the block say what the requests before it used, as far as they told."""
    try:
        yield
    except GatewayError as error:
        error.used_tokens = min(sum(number or 0 for number in tokens), MOST_TOKENS)
        raise


def usage(tokens: Collection[int | None]) -> TokenUsage | None:
    """The sum of what requests used, if each of them told and it can be believed."""
    total = sum(number or 0 for number in tokens)
    return None if None in tokens or total > MOST_TOKENS else TokenUsage(total)


def left_out(call: EmbeddingsCall, *, task: bool = False, truncate: bool = False) -> list[Warning]:
    """Warnings for what the call asks and an API has no word for; True: it has."""
    warnings = []
    if call.task and not task:
        warnings.append(_dropped("task", "this provider embeds for every task alike"))
    if call.truncate and not truncate:
        warnings.append(_dropped("truncate", "this provider refuses inputs that are too long"))
    return warnings


def _dropped(field: str, why: str) -> Warning:
    return Warning("PARAMETER_DROPPED", field, f"{field} was left out: {why}")


def vector(said: Any) -> "array[float]":  # noqa: ANN401 - as it lies on the wire
    """A vector as a list of numbers, or as base64 of little-endian 32-bit floats.

    Raises:
        ProviderProtocolError: it is neither.
    """
    try:
        if type(said) is not str:
            return array("f", said)
        packed: array[float] = array("f")
        packed.frombytes(base64.b64decode(said, validate=True))
    except (ValueError, TypeError, OverflowError) as error:
        raise ProviderProtocolError("the provider sent what is no vector") from error
    if sys.byteorder == "big":
        packed.byteswap()
    return packed
