"""What tells one family of Bedrock's models from another, where Converse does not hide it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

# Ids of inference profiles put a region before the model's own: "us.", "apac.", "global.".
_GEOGRAPHY = re.compile(r"(?:us-gov|global|apac|amer|emea|[a-z]{2})\.(?=[a-z0-9]+\.)")
_MAKER = re.compile(r"(?P<name>[a-z][a-z0-9]*)\.")
_VERSION = re.compile(
    r"claude-(?:(?P<old>\d)(?:-(?P<old_minor>\d))?-(?:opus|sonnet|haiku)"
    r"|v(?P<bare>\d)"
    r"|(?:opus|sonnet|haiku|fable|mythos)-(?P<new>\d{1,2})(?:-(?P<minor>\d{1,2})(?!\d))?)"
)
# Claude without a number that says more is newer than all that have one.
_NEWEST = (99, 0)
_RESOURCES = frozenset({"foundation-model", "inference-profile"})

# Open models whose JSON Bedrock itself holds to a schema.
_CONSTRAINED = re.compile(
    r"deepseek\.v3|google\.gemma-3|minimax\.|moonshot(ai)?\.|nvidia\.|openai\.|qwen\.qwen3"
    r"|mistral\.(magistral|ministral|mistral-large-3|voxtral)"
)
_TOLD_BY_CONFIG = frozenset({"qwen", "moonshot", "moonshotai", "zai"})
_TOP_K_MISTRAL = re.compile(r"mistral\.(mistral-7b|mixtral)")


class Thinks(StrEnum):
    """How a model is told to think."""

    NOT = "not"
    BUDGET = "budget"  # thinking: {type: enabled, budget_tokens}
    EITHER = "either"  # by a budget or by an effort
    EFFORT = "effort"  # thinking: {type: adaptive} and outputConfig.effort
    NOVA = "nova"  # reasoningConfig: {type, maxReasoningEffort}
    OPEN_AI = "openai"  # reasoning: {effort}
    FLAT = "flat"  # reasoning_effort
    CONFIG = "config"  # reasoning_config
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Family:
    """Facts of one model.

    Attributes:
        name: who made the model; "" when the id does not say, as that of an application profile.
        thinks: how it is told to think.
        sampling: it takes temperature and top_p.
        one_of_sampling: it takes only one of the two at a time.
        top_k: where in the additional fields top_k goes; () nowhere.
        penalties: it takes a seed and penalties, by these very names.
        stops: it takes stop sequences.
        json_schema: Bedrock holds its answer to a schema.
        strict_tools: Bedrock holds its tools' arguments to their schemas.
        forces_tools: it can be made to call a tool.
        caches: it takes cache points, and `an_hour` those that last an hour.
        tool_status: it takes the status of a tool's result.
    """

    name: str
    thinks: Thinks = Thinks.NOT
    sampling: bool = True
    one_of_sampling: bool = False
    top_k: tuple[str, ...] = ()
    penalties: bool = False
    stops: bool = True
    json_schema: bool = False
    strict_tools: bool = False
    forces_tools: bool = True
    caches: bool = False
    an_hour: bool = False
    tool_status: bool = False

    @property
    def is_claude(self) -> bool:
        return self.name == "anthropic"


def base_model(model: str) -> str:
    """The model's own id, without a region before it; "" for a resource that does not tell.

    Args:
        model: an id, that of an inference profile, or an ARN of one of many resources.
    """
    if not model.startswith("arn:"):
        match = _GEOGRAPHY.match(model)
        return model[match.end() :] if match else model
    # What an ARN names is behind its fifth colon; names of models have colons of their own.
    resource = ":".join(model.split(":")[5:])
    kind, _, name = resource.partition("/")
    return base_model(name) if kind in _RESOURCES else ""


@lru_cache(maxsize=1024)  # callers choose the ids
def family(model: str) -> Family:
    """The facts of a model by its id."""
    base = base_model(model)
    match = _MAKER.match(base)
    if match is None:
        return _UNKNOWN
    maker = match["name"]
    if (read := _BY_MAKER.get(maker)) is not None:
        return read(base)
    thinks = Thinks.CONFIG if maker in _TOLD_BY_CONFIG else Thinks.NOT
    constrained = _is_constrained(base)
    return Family(maker, thinks, json_schema=constrained, strict_tools=constrained)


def _is_constrained(base: str) -> bool:
    return bool(_CONSTRAINED.match(base))


def _openai(base: str) -> Family:
    is_open = "gpt-oss" in base
    return Family(
        "openai",
        thinks=Thinks.FLAT if is_open else Thinks.OPEN_AI,
        sampling=is_open,
        stops=False,
        json_schema=True,
        strict_tools=True,
    )


def _amazon(base: str) -> Family:
    nova = "nova" in base
    return Family(
        "amazon",
        thinks=Thinks.NOVA if "nova-2" in base else Thinks.NOT,
        top_k=("inferenceConfig", "topK") if nova else (),
        caches=nova,
        tool_status=nova,
    )


def _claude(base: str) -> Family:
    version = _version(base)
    constrained = (4, 5) <= version < (4, 7)
    return Family(
        "anthropic",
        thinks=_claude_thinks(version),
        sampling=version < (4, 7),
        one_of_sampling=(4, 1) <= version < (4, 7),
        top_k=("top_k",) if version < (4, 7) else (),
        # Opus 5.5 cannot be forced to call a tool, so only a schema is left to try.
        json_schema=constrained or version >= (5, 5),
        strict_tools=constrained,
        forces_tools=version < (5, 5),
        caches=version >= (3, 5),
        an_hour=version >= (4, 5),
        tool_status=version >= (3, 0),
    )


def _claude_thinks(version: tuple[int, int]) -> Thinks:
    if version < (3, 7):
        return Thinks.NOT
    if version < (4, 6):
        return Thinks.BUDGET
    return Thinks.EITHER if version < (4, 7) else Thinks.EFFORT


def _version(base: str) -> tuple[int, int]:
    if "claude-instant" in base:
        return (1, 0)
    found = _VERSION.search(base)
    if found is None:
        return _NEWEST
    major = found["old"] or found["bare"] or found["new"]
    return int(major), int(found["old_minor"] or found["minor"] or 0)


def _meta(_: str) -> Family:
    return Family("meta", forces_tools=False)


def _cohere(_: str) -> Family:
    return Family("cohere", top_k=("k",), penalties=True)


def _mistral(base: str) -> Family:
    top_k = ("top_k",) if _TOP_K_MISTRAL.match(base) else ()
    return Family("mistral", top_k=top_k, json_schema=_is_constrained(base))


# Nothing is known, and the unknown does not stand in the way.
_UNKNOWN = Family(
    "", Thinks.UNKNOWN, strict_tools=True, caches=True, an_hour=True, tool_status=True
)
_BY_MAKER: dict[str, Callable[[str], Family]] = {
    "amazon": _amazon,
    "anthropic": _claude,
    "cohere": _cohere,
    "meta": _meta,
    "mistral": _mistral,
    "openai": _openai,
}
