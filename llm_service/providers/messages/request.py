"""A call in the words of the Messages API."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import msgspec

from llm_service.domain.completion import Warning
from llm_service.providers import checks
from llm_service.providers.base import Call
from llm_service.providers.dropped import Dropped
from llm_service.providers.messages.caching import Marks
from llm_service.providers.messages.conversation import Conversation
from llm_service.providers.messages.formats import format_of
from llm_service.providers.messages.params import params
from llm_service.providers.messages.profile import Profile
from llm_service.providers.messages.tools import betas, tools

Json = dict[str, Any]

# What the options may not say: it is decided by the rest of the request.
_OURS = frozenset({"model", "messages", "system", "stream"})
_BETA = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")
# What the vendor still calls a beta, by the option it comes with.
_BETA_OPTIONS = {
    "compaction": "compact-2026-09-04",
    "context_management": "context-management-2025-06-27",
    "fallbacks": "server-side-fallback-2026-07-01",
    "mcp_servers": "mcp-client-2025-11-20",
    "speed": "fast-mode-2026-02-01",
}
_COMPACTING_EDIT = (b'"compact_20260112"', "compact-2026-01-12")
_FILES = "files-api-2025-04-14"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A body, still as fields; what was left out; and what is said beside it.

    `format_tool`: the tool whose arguments are the answer; "": there is none.
    """

    body: Json = field(repr=False)
    version: str
    betas: tuple[str, ...]
    warnings: tuple[Warning, ...]
    format_tool: str


def prepare(call: Call, profile: Profile) -> Prepared:
    """Shape a call.

    Raises:
        CapabilityNotSupported: the request holds what the API or the model has no place for.
        InvalidField: a schema or the options are not JSON, or a name refers to nothing.
    """
    request, kind, model = call.request, profile.kind, call.provider_model
    dropped = Dropped(request.strict_params, model)
    marks = Marks(dropped, able=call.capabilities.prompt_caching is not False)
    said = Conversation(kind, model, dropped, marks).shape(request.messages)
    wanted = format_of(call, kind, dropped)
    tooling = tools(call, kind, dropped, wanted.tool)
    forced = tooling.get("tool_choice", {}).get("type") in ("any", "tool")
    shaped = params(call, profile, dropped, forced=forced, bare_tool_turn=said.bare_tool_turn)
    body: Json = {"model": model, **shaped.body}
    if said.system:
        body["system"] = said.system
    body["messages"] = said.turns
    body |= tooling
    config = shaped.output_config | ({"format": wanted.output} if wanted.output else {})
    if config:
        body["output_config"] = config
    if said.container:
        body["container"] = said.container
    options, named = _options(call.options_json)
    joined = _joined(
        [*profile.betas, *named], [*betas(request.tools), *_implied(options, said.turns)]
    )
    return Prepared(
        _merged(body, options), shaped.version, joined, dropped.warnings(), wanted.tool_name
    )


def _options(text: str) -> tuple[Mapping[str, msgspec.Raw], list[str]]:
    """The caller's options, and the betas they name: the SDK's `betas`, which is a header."""
    options = dict(checks.options(text, _OURS))
    said = options.pop("betas", None)
    if said is None:
        return options, []
    try:
        named = msgspec.json.decode(said, type=list[str])
    except ValueError as error:
        raise checks.bad_options("betas must be a list of strings") from error
    if not all(_BETA.fullmatch(name) for name in named):
        raise checks.bad_options("betas must be names of letters, digits, -, _ and .")
    return options, named


def _implied(options: Mapping[str, msgspec.Raw], turns: Sequence[Json]) -> list[str]:
    implied = [beta for name, beta in _BETA_OPTIONS.items() if name in options]
    edit, beta = _COMPACTING_EDIT
    if "context_management" in options and edit in bytes(options["context_management"]):
        implied.append(beta)
    blocks = [block for turn in turns for block in turn["content"]]
    results = (block for block in blocks if block["type"] == "tool_result")
    inner = (said for result in results for said in result.get("content", ()))
    if any(_is_file(block) for block in chain(blocks, inner)):
        implied.append(_FILES)
    return implied


def _is_file(block: Json) -> bool:
    source = block.get("source")
    return type(source) is dict and source.get("type") == "file"


def _joined(named: Sequence[str], implied: Sequence[str]) -> tuple[str, ...]:
    """Every beta once; of one that is named, no other release."""
    taken = {_DATE.sub("", name) for name in named}
    more = (name for name in implied if _DATE.sub("", name) not in taken)
    return tuple(dict.fromkeys([*named, *more]))


def _merged(body: Json, options: Mapping[str, msgspec.Raw]) -> Json:
    """The options win; in `output_config` and `container` beside what is there."""
    merged = {**body, **options}
    if "output_config" in body and "output_config" in options:
        said = _object(options["output_config"])
        if said is None:
            raise checks.bad_options("output_config must be an object")
        merged["output_config"] = body["output_config"] | said
    if "container" in body and "container" in options:
        said = _object(options["container"])
        if said is not None:  # skills for the container at hand
            merged["container"] = {"id": body["container"]} | said
    return merged


def _object(said: msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    try:
        return msgspec.json.decode(said, type=dict[str, msgspec.Raw])
    except ValueError:
        return None
