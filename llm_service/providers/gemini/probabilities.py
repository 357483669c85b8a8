"""The probabilities of an answer's tokens; read with suspicion."""

from collections.abc import Mapping
from typing import Any

from llm_service.domain.content import AlternativeToken, TokenLogprob
from llm_service.providers.lenient import items, mapping

_UNBELIEVABLE = 2**63  # JSON's numbers know no bounds, but those of floats do


def logprobs(said: Any) -> tuple[TokenLogprob, ...]:  # noqa: ANN401 - as it lies on the wire
    """The tokens of a `logprobsResult`."""
    result = mapping(said)
    tops = [mapping(top) for top in items(result.get("topCandidates"))]
    chosen = [mapping(token) for token in items(result.get("chosenCandidates"))]
    return tuple(
        TokenLogprob(
            token["token"],
            float(token["logProbability"]),
            alternatives=_alternatives(tops[place]) if place < len(tops) else (),
        )
        for place, token in enumerate(chosen)
        if _is_token(token)
    )


def _alternatives(top: Mapping[str, Any]) -> tuple[AlternativeToken, ...]:
    return tuple(
        AlternativeToken(token["token"], float(token["logProbability"]))
        for token in map(mapping, items(top.get("candidates")))
        if _is_token(token)
    )


def _is_token(said: Mapping[str, Any]) -> bool:
    logprob = said.get("logProbability")
    return type(said.get("token")) is str and (
        type(logprob) is float or (type(logprob) is int and abs(logprob) < _UNBELIEVABLE)
    )
