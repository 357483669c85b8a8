"""The Messages API: its calls, its counter of tokens and its list of models."""

from collections.abc import Mapping
from functools import partial

import msgspec

from llm_service import errors
from llm_service.domain.completion import ContentFilter
from llm_service.domain.provider import Model
from llm_service.providers.base import Call, Embeddings, EmbeddingsCall, TokenCount
from llm_service.providers.lenient import count, mapping
from llm_service.providers.messages import failures, listing, request, tools
from llm_service.providers.messages.decoder import MessagesDecoder
from llm_service.providers.messages.profile import CURRENT, Profile
from llm_service.providers.vendor import EVENT_STREAM, JSON, Ask, Exchange, Headers

# What the counter takes of a call; it refuses the rest.
_COUNTED = frozenset(
    {
        "cache_control",
        "context_management",
        "mcp_servers",
        "messages",
        "model",
        "output_config",
        "speed",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    }
)


class MessagesApi:
    """The Messages API, as one account uses it."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile

    def exchange(self, call: Call, *, stream: bool) -> Exchange:
        prepared = request.prepare(call, self._profile)
        body = prepared.body | ({"stream": True} if stream else {})
        return Exchange(
            f"{self._profile.prefix}/messages",
            msgspec.json.encode(body),
            partial(
                MessagesDecoder,
                self._profile.kind,
                prepared.format_tool,
                code_is_free=tools.code_is_free(call),
            ),
            prepared.warnings,
            [*(EVENT_STREAM if stream else JSON), *_headers(prepared.version, prepared.betas)],
        )

    def refusal(
        self, status: int, headers: Mapping[str, str], body: bytes, hide: str
    ) -> errors.GatewayError | ContentFilter:
        error = failures.read_error(status, body)
        return failures.content_filter(error) or failures.failure(error, headers, hide=hide)

    async def count_tokens(self, call: Call, ask: Ask) -> TokenCount:
        """Ask the vendor, who calls it an estimate; it is no guess of ours."""
        prepared = request.prepare(call, self._profile)
        body = {name: said for name, said in prepared.body.items() if name in _COUNTED}
        answer = await ask(
            "POST",
            f"{self._profile.prefix}/messages/count_tokens",
            msgspec.json.encode(body),
            headers=[*JSON, *_headers(prepared.version, prepared.betas)],
        )
        try:
            said = count(mapping(msgspec.json.decode(answer)).get("input_tokens"))
        except (ValueError, RecursionError):
            said = None
        if said is None:
            raise errors.ProviderProtocolError("the provider's count of tokens is none")
        return TokenCount(said, estimated=False)

    async def embed(self, call: EmbeddingsCall, ask: Ask) -> Embeddings:  # noqa: ARG002
        raise errors.CapabilityNotSupported(
            f"{self._profile.kind} does not embed (model {call.provider_model})",
            metadata={"field": "model", "model": call.provider_model},
        )

    async def models(self, ask: Ask) -> tuple[Model, ...]:
        """What `GET /models` lists, with what it tells of each model."""
        profile = self._profile
        headers = [*JSON, *_headers(profile.version or CURRENT, profile.betas)]
        return tuple(await listing.models(ask, profile.kind, f"{profile.prefix}/models", headers))


def _headers(version: str, betas: tuple[str, ...]) -> Headers:
    named = [("anthropic-beta", ",".join(betas))] if betas else []
    return [("anthropic-version", version), *named]
