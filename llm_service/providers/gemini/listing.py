"""The models that Google lists for an account, page by page."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import msgspec

from llm_service.domain.provider import EmbeddingInfo, Model
from llm_service.errors import ProviderProtocolError
from llm_service.providers.discovery import discovered
from llm_service.providers.egress import Endpoint
from llm_service.providers.gemini.door import KIND, Door
from llm_service.providers.gemini.embeddings import MAX_INPUTS
from llm_service.providers.lenient import count, items, mapping, text
from llm_service.providers.vendor import JSON, Ask

_ANSWERS, _EMBEDS = "generateContent", frozenset({"embedContent", "batchEmbedContents"})
_MOST_PAGES = 50
_OF_USE = ("gemini", "gemma", "embedding")


async def models(door: Door, endpoint: Endpoint, ask: Ask) -> tuple[Model, ...]:
    """Those that answer or embed, with what Google tells of each over what the catalogue knows."""
    if door.is_vertex:
        listed = [
            page async for page in _pages(_vertex_ask(door, endpoint, ask), "publisherModels")
        ]
        names = [text(mapping(said).get("name")).rpartition("/")[2] for said in listed]
        return tuple(
            discovered(KIND, name) for name in names if any(word in name for word in _OF_USE)
        )
    listed = [page async for page in _pages(_gemini_ask(ask), "models")]
    found = (_model(mapping(said)) for said in listed)
    return tuple(model for model in found if model is not None)


def _gemini_ask(ask: Ask) -> Any:  # noqa: ANN401 - a function of a page's token
    async def page(token: str) -> bytes:
        return await ask("GET", f"/models?pageSize=1000{_token(token)}")

    return page


def _vertex_ask(door: Door, endpoint: Endpoint, ask: Ask) -> Any:  # noqa: ANN401
    """Only the beta lists publishers' models."""
    path = endpoint.path.removesuffix("/v1") + "/v1beta1"
    headers = (*JSON, ("x-goog-user-project", door.project))

    async def page(token: str) -> bytes:
        return await ask(
            "GET",
            f"/publishers/google/models?pageSize=100{_token(token)}",
            headers=headers,
            endpoint=replace(endpoint, path=path),
        )

    return page


def _token(token: str) -> str:
    return f"&pageToken={quote(token, safe='')}" if token else ""


async def _pages(page: Any, name: str) -> AsyncIterator[Any]:  # noqa: ANN401
    token, seen = "", {""}
    for _ in range(_MOST_PAGES):
        try:
            said = msgspec.json.decode(await page(token), type=dict[str, Any])
        except (ValueError, RecursionError) as error:
            raise ProviderProtocolError("the provider's list of models is none") from error
        for listed in items(said.get(name)):
            yield listed
        token = text(said.get("nextPageToken"))
        if token in seen:
            break
        seen.add(token)


def _model(said: dict[str, Any]) -> Model | None:
    """A listed model; None if it does neither."""
    name = text(said.get("name")).removeprefix("models/")
    methods = {text(method) for method in items(said.get("supportedGenerationMethods"))}
    embeds = bool(methods & _EMBEDS)
    if not name or (methods and _ANSWERS not in methods and not embeds):
        return None
    model = discovered(KIND, name)
    thinking = said.get("thinking")
    capabilities = replace(
        model.capabilities,
        thinking=thinking if type(thinking) is bool else model.capabilities.thinking,
    )
    embedding = model.embedding or (EmbeddingInfo(max_inputs=MAX_INPUTS) if embeds else None)
    return replace(
        model,
        display_name=model.display_name or text(said.get("displayName")),
        description=model.description or text(said.get("description")),
        context_window_tokens=count(said.get("inputTokenLimit")) or model.context_window_tokens,
        max_output_tokens=count(said.get("outputTokenLimit")) or model.max_output_tokens,
        capabilities=capabilities,
        embedding=embedding,
    )
