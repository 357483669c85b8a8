"""What an attempt can use at most: what hard budgets hold for it until it is settled.

The output is bounded by what the target is told, or by what its model can. The input is our own
estimate, which is 0.76 of the truth at the worst (see `estimates.BYTES_PER_TOKEN`), with room for
what vendors put around messages; media are bounded by what the dearest of them count. Searches and
other tools of the provider's, which count by use, are not bounded.
"""

from collections.abc import Iterator
from dataclasses import replace

from llm_service.domain.budget import Budget, BudgetUnit
from llm_service.domain.completion import CompletionRequest, ModalityTokens, TokenUsage
from llm_service.domain.content import CacheControl, Media, Modality
from llm_service.domain.embedding import EmbeddingRequest
from llm_service.domain.provider import Price
from llm_service.errors import CostUnknown
from llm_service.gateway import pricing
from llm_service.gateway.gates import Admission

_FRAME_TOKENS = 16
"""Around each message and tool: OpenAI's own count is 3 to 12 for each of its formats."""
_IMAGE_TOKENS = 3_000
"""OpenAI's, Anthropic's and Google's largest images count about 1,500 to 2,800."""
_HOUR = 3600.0
_MODALITIES = (Modality.AUDIO, Modality.IMAGE, Modality.VIDEO)


def most(budget: Budget, admission: Admission) -> int:
    """In the budget's unit.

    Raises:
        CostUnknown: it has no bound: the model has no price, or nobody limits its output.
    """
    if budget.unit is BudgetUnit.REQUESTS:
        return 1
    price, output = admission.price, _output(budget, admission)
    if budget.unit is BudgetUnit.TOKENS:
        return input_tokens(admission) + output
    if price is None:
        raise _unknown(budget, admission, "price")
    return _cost(budget, admission, price, TokenUsage(input_tokens(admission), output))


def input_tokens(admission: Admission) -> int:
    request = admission.call.request
    frames, media = _shape(request)
    bound = admission.input_tokens * 4 // 3 + 1 + frames * _FRAME_TOKENS
    window = admission.target.model.context_window_tokens or 0
    bound += sum(_media_tokens(one, window) for one in media)
    return min(bound, window) if window else bound


def _shape(request: CompletionRequest | EmbeddingRequest) -> tuple[int, list[Media]]:
    """How many things vendors put something around, and what has no text."""
    if isinstance(request, EmbeddingRequest):
        return len(request.inputs), [one for one in request.inputs if isinstance(one, Media)]
    parts = (part.content for message in request.messages for part in message.parts)
    frames = len(request.messages) + len(request.tools) + 1
    return frames, [one for one in parts if isinstance(one, Media)]


def _media_tokens(media: Media, window: int) -> int:
    """A byte of a document is a token at most; of what is only named, the window is the bound."""
    if media.modality is Modality.IMAGE:
        return _IMAGE_TOKENS
    return len(media.data) if media.data is not None else window


def _output(budget: Budget, admission: Admission) -> int:
    bound = admission.most_output_tokens
    if bound is None:
        bound = admission.target.model.context_window_tokens or None
    if bound is None:
        raise _unknown(budget, admission, "max_output_tokens")
    return bound


def _cost(budget: Budget, admission: Admission, price: Price, usage: TokenUsage) -> int:
    """The dearest of the ways in which so many tokens may be counted."""
    costs = [pricing.cost_of(way, price) for way in _ways(admission, usage)]
    if any(cost.incomplete for cost in costs):
        raise _unknown(budget, admission, "price")
    return max(cost.total_nano_usd for cost in costs)


def _ways(admission: Admission, usage: TokenUsage) -> Iterator[TokenUsage]:
    yield usage
    request = admission.call.request
    if isinstance(request, EmbeddingRequest):
        return
    if kept := _kept(request):
        whole = usage.input_tokens
        long = whole if any((one.ttl_seconds or 0) >= _HOUR for one in kept) else 0
        yield replace(usage, cache_write_input_tokens=whole, cache_write_1h_input_tokens=long)
    _, media = _shape(request)
    for modality in _MODALITIES:
        given = usage.input_tokens if any(one.modality is modality for one in media) else 0
        made = modality in admission.target.model.output_modalities
        tokens = ModalityTokens(modality, given, usage.output_tokens if made else 0)
        if given or made:
            yield replace(usage, modality_tokens=(tokens,))


def _kept(request: CompletionRequest) -> list[CacheControl]:
    parts = (part for message in request.messages for part in message.parts)
    return [part.cache_control for part in parts if part.cache_control is not None]


def _unknown(budget: Budget, admission: Admission, missing: str) -> CostUnknown:
    model = admission.target.model.name
    return CostUnknown(
        f"{budget.name} may not be exceeded, and what {model} could use at most is not known: "
        f"it has no {'price' if missing == 'price' else 'limit of output tokens'}",
        metadata={"budget": budget.name, "model": model, "missing": missing},
    )
