"""Vendors' own tokenizers, asked over HTTP what a text comes to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from llm_service.domain.completion import TokenUsage
from llm_service.errors import ProviderProtocolError
from llm_service.providers.base import BrokenOff, Call, Inquiry
from llm_service.providers.egress import Endpoint
from llm_service.providers.lenient import count, items, mapping
from llm_service.providers.vendor import Ask

LETTER = "x"
"""A token in any vocabulary: what is counted beside it is the frame of a text."""


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """How one is asked, and what its answer says.

    Attributes:
        path: below the endpoint that is asked.
        body: of a model and a text.
        tokens: how many its answer says there are; None: it says nothing of it.
    """

    path: str
    body: Callable[[str, str], Mapping[str, Any]]
    tokens: Callable[[Any], int | None]

    def inquiry(
        self, call: Call, answer: BrokenOff, ask: Ask, endpoint: Endpoint | None = None
    ) -> Inquiry | None:
        """Have the text of an answer measured; as `Adapter.inquiry`. `endpoint` as of `Ask`."""
        if not answer.text:
            return None

        async def inquire() -> TokenUsage:
            body = msgspec.json.encode(self.body(call.provider_model, answer.text))
            said = await ask("POST", self.path, body, endpoint=endpoint)
            try:
                tokens = self.tokens(msgspec.json.decode(said))
            except (ValueError, RecursionError):
                tokens = None
            if tokens is None:
                raise ProviderProtocolError("the provider's count of tokens is none")
            return answer.measured(tokens)

        return inquire


def beside(endpoint: Endpoint) -> Endpoint:
    """Where a server has what is not of OpenAI's API: above its first folder."""
    return replace(endpoint, path=endpoint.path.removesuffix("/v1"))


def _length(said: Any) -> int | None:  # noqa: ANN401 - as it lies on the wire
    return len(said) if type(said) is list else None


# docs.x.ai, "Tokenize text".
XAI = Tokenizer(
    "/tokenize-text",
    lambda model, text: {"model": model, "text": text},
    lambda said: _length(mapping(said).get("token_ids")),
)

# What servers have beside OpenAI's API: vLLM (and SGLang the same), llama.cpp, and Hugging Face's
# TGI, whose marks of a beginning are tokens without a text.
SERVERS: Mapping[str, Tokenizer] = {
    "vllm": Tokenizer(
        "/tokenize",
        lambda model, text: {"model": model, "prompt": text, "add_special_tokens": False},
        lambda said: count(mapping(said).get("count")),
    ),
    "llama.cpp": Tokenizer(
        "/tokenize",
        lambda _, text: {"content": text, "add_special": False},
        lambda said: _length(mapping(said).get("tokens")),
    ),
    "tgi": Tokenizer(
        "/tokenize",
        lambda _, text: {"inputs": text},
        lambda said: _with_text(said) if type(said) is list else None,
    ),
}


def _with_text(said: Any) -> int:  # noqa: ANN401
    tokens = map(mapping, items(said))
    return sum(token.get("start") != token.get("stop") for token in tokens)
