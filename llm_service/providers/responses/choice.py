"""Chat Completions or Responses: which of OpenAI's two APIs a call goes by."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from llm_service import catalog, errors
from llm_service.domain.completion import ContentFilter
from llm_service.domain.provider import Model
from llm_service.providers.base import Call, Embeddings, EmbeddingsCall, TokenCount
from llm_service.providers.chat.api import ChatApi
from llm_service.providers.vendor import Ask, Exchange

if TYPE_CHECKING:  # an account that never uses it does not carry it
    from llm_service.providers.responses.api import ResponsesApi

APIS = ("chat", "responses")

SETTING = (
    '"api":{"type":"string","enum":["chat","responses"],"description":'
    '"The API completions go by. Default: the one that is known to be right for each model, else'
    ' chat."}'
)
"""The member of a kind's settings schema."""


def wanted(settings: Mapping[str, str]) -> str:
    """The account's setting; "" leaves it to what is known of each model.

    Raises:
        InvalidField: it names neither API.
    """
    api = settings.get("api", "")
    if api not in ("", *APIS):
        violation = errors.Violation("provider.settings.api", f"must be one of {', '.join(APIS)}")
        raise errors.InvalidField(violation)
    return api


class EitherApi:
    """Both APIs of one account; everything but completions is the same in both."""

    def __init__(self, kind: str, chat: ChatApi, responses: "ResponsesApi", api: str = "") -> None:
        """`api` as `wanted` gives it."""
        self._kind = kind
        self._chat = chat
        self._responses = responses
        self._api = api

    def completes(self, model: str) -> "ChatApi | ResponsesApi":
        """The API that serves completions of a model."""
        api = self._api or catalog.wire_facts(self._kind, model).get("api", "chat")
        return self._responses if api == "responses" else self._chat

    def exchange(self, call: Call, *, stream: bool) -> Exchange:
        return self.completes(call.provider_model).exchange(call, stream=stream)

    def refusal(
        self, status: int, headers: Mapping[str, str], body: bytes, hide: str
    ) -> errors.GatewayError | ContentFilter:
        """Read as Responses has it, which knows every word of Chat Completions too."""
        return self._responses.refusal(status, headers, body, hide)

    async def count_tokens(self, call: Call, ask: Ask) -> TokenCount:
        return await self._responses.count_tokens(call, ask)

    async def embed(self, call: EmbeddingsCall, ask: Ask) -> Embeddings:
        return await self._chat.embed(call, ask)

    async def models(self, ask: Ask) -> tuple[Model, ...]:
        return await self._chat.models(ask)
