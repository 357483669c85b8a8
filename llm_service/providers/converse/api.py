"""The Converse API, and what Bedrock has beside it."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import msgspec

from llm_service import errors
from llm_service.domain import estimates
from llm_service.domain.completion import ContentFilter, TokenUsage
from llm_service.domain.provider import Model
from llm_service.providers.base import (
    BrokenOff,
    Call,
    Embeddings,
    EmbeddingsCall,
    Inquiry,
    TokenCount,
)
from llm_service.providers.converse import embeddings, failures, listing, request
from llm_service.providers.converse.decoder import ConverseDecoder
from llm_service.providers.converse.families import base_model, family
from llm_service.providers.converse.paths import model_path
from llm_service.providers.egress import Endpoint
from llm_service.providers.lenient import count
from llm_service.providers.tokenizers import LETTER
from llm_service.providers.vendor import JSON, Ask, Exchange, Headers

_EVENT_STREAM: Headers = (
    ("accept", "application/vnd.amazon.eventstream"),
    ("content-type", "application/json"),
)
# The counter does not know every model that answers, and may be closed to who may ask the model.
_CANNOT_COUNT = (
    errors.ProviderRejectedRequest,
    errors.ModelNotFound,
    errors.ProviderPermissionDenied,
)


class _Counted(msgspec.Struct):
    """The answer of `CountTokens`."""

    inputTokens: int  # noqa: N815 - the wire's name


class ConverseApi:
    """Converse for the models of one account."""

    def __init__(self, kind: str, control: Endpoint | None = None) -> None:
        """`control` is where models are listed; None: where they are called."""
        self._kind = kind
        self._control = control

    def exchange(self, call: Call, *, stream: bool) -> Exchange:
        model = call.provider_model
        shaped = request.shape(call, self._kind)
        decoder = partial(ConverseDecoder, self._kind, model, shaped.family.name, shaped.names)
        return Exchange(
            model_path(model, "converse-stream" if stream else "converse"),
            shaped.encoded(),
            decoder,
            shaped.warnings,
            _EVENT_STREAM if stream else JSON,
        )

    def refusal(
        self, status: int, headers: Mapping[str, str], body: bytes, hide: str
    ) -> errors.GatewayError | ContentFilter:
        error = failures.read_error(status, headers, body)
        return failures.failure(error, headers, hide=hide)

    async def count_tokens(self, call: Call, ask: Ask) -> TokenCount:
        """By the vendor, for those models it counts for; else a guess from the length of the text.

        The counter knows models by their own ids only, not by those of inference profiles.
        """
        model = _countable(call)
        body = request.shape(call, self._kind).to_count()
        if model:
            try:
                return TokenCount(await _count(model, body, ask), estimated=False)
            except _CANNOT_COUNT:
                return _estimate(call)
        return _estimate(call)

    def inquiry(self, call: Call, answer: BrokenOff, ask: Ask) -> Inquiry | None:
        """Have the text counted as an assistant's, and the input; as `Adapter.inquiry`.

        Converse says what went in at the end alone. Of cached input the counter knows nothing.
        """
        model = _countable(call)
        if not model or not answer.text.strip():
            return None

        async def inquire() -> TokenUsage:
            shaped = request.shape(call, self._kind)
            asked = await _count(model, shaped.to_count(), ask)
            text = await _count(model, request.text_to_count(answer.text), ask)
            frame = await _count(model, request.text_to_count(LETTER), ask)
            usage = answer.measured(text - frame + 1, asked)
            return replace(usage, estimated=True) if shaped.caches() else usage

        return inquire

    async def embed(self, call: EmbeddingsCall, ask: Ask) -> Embeddings:
        return await embeddings.embed(self._kind, call, ask)

    async def models(self, ask: Ask) -> tuple[Model, ...]:
        """The models to be called by their own id, and the inference profiles."""
        return await listing.models(self._kind, ask, self._control)


def _countable(call: Call) -> str:
    """The id by which the counter knows the model; "": it does not."""
    model = base_model(call.provider_model)
    return model if model and family(model).is_claude else ""


async def _count(model: str, body: bytes, ask: Ask) -> int:
    answer = await ask("POST", model_path(model, "count-tokens"), body)
    try:
        number = count(msgspec.json.decode(answer, type=_Counted).inputTokens)
    except (ValueError, RecursionError) as error:
        raise errors.ProviderProtocolError("the provider's count of tokens is none") from error
    if number is None:
        raise errors.ProviderProtocolError("the provider's count of tokens is none")
    return number


def _estimate(call: Call) -> TokenCount:
    return TokenCount(estimates.input_tokens(call.request), estimated=True)
