"""In what the vendors who speak Chat Completions differ."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from llm_service.providers.base import Call
from llm_service.providers.chat import reasoning
from llm_service.providers.dropped import Dropped


class Thoughts(StrEnum):
    """How thinking goes back to the vendor that issued it."""

    DROPPED = "dropped"
    REASONING_CONTENT = "reasoning_content"
    """As a field of the assistant's message."""
    REASONING = "reasoning"
    """The same by another name."""
    DETAILS = "reasoning_details"
    """As the list of signed pieces it came in (OpenRouter)."""
    BLOCKS = "blocks"
    """As blocks of the message's content (Mistral)."""


class Documents(StrEnum):
    """How a document is put."""

    NONE = "none"
    FILES = "files"
    """A `file` block: bytes or an uploaded file's id."""
    FILES_OR_URLS = "files_or_urls"
    """A `file` block: bytes or an address."""
    DOCUMENT_URLS = "document_urls"
    """A `document_url` block: bytes or an address; a `file` block for an id."""


class Audio(StrEnum):
    """How sound is put: in no way, with its format, as bare base64 text, or as a URL."""

    NONE = "none"
    OBJECT = "object"
    TEXT = "text"
    URL = "url"


class Logprobs(StrEnum):
    """How probabilities are asked for: not at all, by a flag and a number, or by a number."""

    NONE = "none"
    FLAG = "flag"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class CallIds:
    """Which ids of tool calls a vendor takes; any other is replaced by one made of its hash."""

    taken: re.Pattern[str]
    length: int


@dataclass(frozen=True, slots=True)
class EmbeddingRules:
    """How `POST /embeddings` is asked.

    `max_inputs` and `max_tokens` are of one request; 0: not documented. `base64`: vectors come as
    packed floats when asked for so.
    """

    max_inputs: int = 0
    max_tokens: int = 0
    dimensions_field: str = "dimensions"
    base64: bool = False


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind's variant. The defaults are what OpenAI's own API has, and so most servers.

    Attributes:
        kind: the provider kind; stamps provider state.
        system_role: the role that carries instructions: "system" or "developer".
        max_tokens_field: the body's name for `max_output_tokens`.
        seed_field: the body's name for `seed`.
        top_k: has such a parameter.
        lacks: parameters (by their name below `params`) the vendor has not, or passes over.
        logprobs: how probabilities are asked for.
        reasoning: what the body says for the call's `Reasoning`.
        thinks_unasked: its models think unless they are told not to.
        thinking_ignores: parameters that a model which thinks does not take.
        forced_tools_stop_thinking: a model that thinks cannot be forced to call a tool.
        marks_end: its streams end with [DONE], and without it were broken off; else one is whole
            that ends after a reason to finish.
        include_usage: a stream tells usage only when asked; some vendors refuse to be asked.
        continuous_usage: a stream tells usage with every piece of it when asked.
        shows_tokens: a stream may show its tokens, which are counted then.
        shows_tokens_if_asked: so may one whose model's options ask for it.
        return_token_ids: it lists them all when asked, and is asked.
        json_schema: takes an answer's schema; else a forced tool brings it about.
        strict: knows `strict` of a function.
        parallel: knows `parallel_tool_calls`.
        required: the word for "call some tool".
        allowed_tools: takes a tool choice of several names; else only the tools named are sent.
        provider_tools: runs tools of its own when they are listed.
        thoughts: how thinking goes back.
        thoughts_with_calls: a message with tool calls must have the field of thoughts, if empty.
        content_with_calls: and content.
        call_ids: the ids of tool calls it takes.
        empty_messages: takes a message that says nothing; else it is left out.
        names: takes a participant's name.
        refusals: takes a refusal in a field; else it is sent as the text it is.
        cache_marks: takes `cache_control` in blocks.
        user_after_tool: takes a user's message right after a tool's result.
        prefixes: the assistant's unfinished last message must be marked as such.
        tool_images: takes images in tool results.
        image_objects: an image's address lies in an object; else it is the block's plain value.
        documents: how documents are put.
        audio: how sound is put.
        video: takes video by address or as bytes.
        embeddings: how it embeds; None: not at all.
    """

    kind: str
    system_role: str = "system"
    max_tokens_field: str = "max_tokens"
    seed_field: str = "seed"
    top_k: bool = False
    lacks: frozenset[str] = frozenset()
    logprobs: Logprobs = Logprobs.FLAG
    reasoning: Callable[[Call, Dropped], dict[str, Any]] = reasoning.by_effort
    thinks_unasked: bool = False
    thinking_ignores: tuple[str, ...] = ()
    forced_tools_stop_thinking: bool = False
    marks_end: bool = True
    include_usage: bool = True
    continuous_usage: bool = False
    shows_tokens: bool = False
    shows_tokens_if_asked: bool = False
    return_token_ids: bool = False
    json_schema: bool = True
    strict: bool = True
    parallel: bool = True
    required: str = "required"
    allowed_tools: bool = False
    provider_tools: bool = False
    thoughts: Thoughts = Thoughts.DROPPED
    thoughts_with_calls: bool = False
    content_with_calls: bool = False
    # OpenAI's limit, and the only one that a hash in its place could hurt nowhere.
    call_ids: CallIds = field(default=CallIds(re.compile(r".{1,40}", re.S), 40))
    empty_messages: bool = True
    names: bool = True
    refusals: bool = True
    cache_marks: bool = False
    user_after_tool: bool = True
    prefixes: bool = False
    tool_images: bool = False
    image_objects: bool = True
    documents: Documents = Documents.FILES
    audio: Audio = Audio.OBJECT
    video: bool = False
    embeddings: EmbeddingRules | None = field(
        default=EmbeddingRules(max_inputs=2048, max_tokens=300_000, base64=True)
    )
