"""What OpenRouter has on record of a generation, also of one that was broken off."""

import asyncio
from urllib.parse import quote

import msgspec

from llm_service.domain.completion import TokenUsage
from llm_service.errors import GatewayError, ProviderProtocolError
from llm_service.providers import reported_cost
from llm_service.providers.base import BrokenOff, Call, Inquiry
from llm_service.providers.lenient import count, mapping, subset
from llm_service.providers.vendor import Ask

# "Stats become queryable a few seconds after" a generation is over (openrouter.ai/docs).
_AGAIN_SECONDS = 0.5
_NOT_YET = 404


def inquiry(call: Call, answer: BrokenOff, ask: Ask) -> Inquiry | None:  # noqa: ARG001
    """Look the generation up until it is there; as `Adapter.inquiry`."""
    if not answer.provider_request_id:
        return None

    async def inquire() -> TokenUsage:
        path = f"/generation?id={quote(answer.provider_request_id, safe='')}"
        while True:
            try:
                return _usage(await ask("GET", path))
            except GatewayError as error:
                if error.http_status != _NOT_YET:
                    raise
            await asyncio.sleep(_AGAIN_SECONDS)

    return inquire


def _usage(body: bytes) -> TokenUsage:
    """The counts of the model's own vocabulary, by which the vendor bills."""
    try:
        said = mapping(mapping(msgspec.json.decode(body)).get("data"))
    except (ValueError, RecursionError):
        said = {}
    prompt = count(said.get("native_tokens_prompt"))
    completion = count(said.get("native_tokens_completion"))
    if prompt is None or completion is None:
        raise ProviderProtocolError("the provider's record of the generation has no counts")
    return TokenUsage(
        input_tokens=prompt,
        output_tokens=completion,
        cache_read_input_tokens=subset(prompt, said.get("native_tokens_cached")),
        reasoning_output_tokens=subset(completion, said.get("native_tokens_reasoning")),
        reported_nano_usd=reported_cost.of_generation(body),
    )
