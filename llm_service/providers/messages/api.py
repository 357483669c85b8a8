"""The Messages API: its calls, its counter of tokens and its list of models."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from llm_service import errors
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
from llm_service.providers.lenient import count, mapping
from llm_service.providers.messages import failures, listing, request, tools
from llm_service.providers.messages.decoder import MessagesDecoder
from llm_service.providers.messages.params import version_of
from llm_service.providers.messages.profile import CURRENT, Profile
from llm_service.providers.tokenizers import LETTER
from llm_service.providers.vendor import EVENT_STREAM, JSON, Ask, Exchange, Headers

_Json = dict[str, Any]

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
        headers = [*JSON, *_headers(prepared.version, prepared.betas)]
        return TokenCount(await self._count(body, headers, ask), estimated=False)

    def inquiry(self, call: Call, answer: BrokenOff, ask: Ask) -> Inquiry | None:
        """Have the text counted as an assistant's; as `Adapter.inquiry`."""
        if not answer.text.strip():  # which the counter does not take
            return None

        async def inquire() -> TokenUsage:
            headers = [*JSON, *_headers(version_of(call, self._profile), self._profile.betas)]

            async def tokens(text: str) -> int:
                body = {"model": call.provider_model, "messages": _said_between(text)}
                return await self._count(body, headers, ask)

            return answer.measured(await tokens(answer.text) - await tokens(LETTER) + 1)

        return inquire

    async def _count(self, body: _Json, headers: Headers, ask: Ask) -> int:
        path = f"{self._profile.prefix}/messages/count_tokens"
        answer = await ask("POST", path, msgspec.json.encode(body), headers=headers)
        try:
            said = count(mapping(msgspec.json.decode(answer)).get("input_tokens"))
        except (ValueError, RecursionError):
            said = None
        if said is None:
            raise errors.ProviderProtocolError("the provider's count of tokens is none")
        return said

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


def _said_between(text: str) -> list[_Json]:
    """A text of an assistant's, where a model that takes no beginning of its answer takes it."""
    turns = (("user", LETTER), ("assistant", text), ("user", LETTER))
    return [{"role": role, "content": [{"type": "text", "text": said}]} for role, said in turns]


def _headers(version: str, betas: tuple[str, ...]) -> Headers:
    named = [("anthropic-beta", ",".join(betas))] if betas else []
    return [("anthropic-version", version), *named]
