"""What comes beside an answer's text: probabilities, annotations, sources; read with suspicion."""

import sys
from typing import Any

from llm_service.domain.content import AlternativeToken, Citation, TokenLogprob
from llm_service.providers.lenient import items, text


def logprobs(said: Any, name: str) -> tuple[TokenLogprob, ...]:  # noqa: ANN401 - as it lies on the wire
    """The tokens under `name` ("content" or "refusal") of a choice's `logprobs`."""
    tokens = said.get(name) if type(said) is dict else None
    if type(tokens) is not list:
        return _in_columns(said) if name == "content" else ()
    return tuple(
        TokenLogprob(
            token["token"],
            float(token["logprob"]),
            _bytes(token.get("bytes")),
            _alternatives(token.get("top_logprobs")),
        )
        for token in tokens
        if _is_token(token)
    )


def _in_columns(said: Any) -> tuple[TokenLogprob, ...]:  # noqa: ANN401
    """Tokens and probabilities in lists beside each other, as Together has them."""
    if type(said) is not dict:
        return ()
    pairs = zip(items(said.get("tokens")), items(said.get("token_logprobs")), strict=False)
    return tuple(
        TokenLogprob(token, float(logprob))
        for token, logprob in pairs
        if _is_token({"token": token, "logprob": logprob})
    )


def _alternatives(said: Any) -> tuple[AlternativeToken, ...]:  # noqa: ANN401
    if type(said) is not list:
        return ()
    return tuple(
        AlternativeToken(token["token"], float(token["logprob"]), _bytes(token.get("bytes")))
        for token in said
        if _is_token(token)
    )


def _is_token(said: Any) -> bool:  # noqa: ANN401
    return (
        type(said) is dict
        and type(said.get("token")) is str
        and type(said.get("logprob")) in (float, int)
        and abs(said["logprob"]) <= sys.float_info.max
    )


def _bytes(said: Any) -> bytes:  # noqa: ANN401
    try:
        return bytes(said) if type(said) is list else b""
    except (ValueError, TypeError):
        return b""


def url_citation(annotation: Any) -> Citation | None:  # noqa: ANN401
    """The citation of a `url_citation` annotation; None for every other kind."""
    if type(annotation) is not dict or annotation.get("type") != "url_citation":
        return None
    said = annotation.get("url_citation")
    if type(said) is not dict:
        return None
    start, end = _position(said.get("start_index")), _position(said.get("end_index"))
    return Citation(
        uri=text(said.get("url")),
        title=text(said.get("title")),
        cited_text=text(said.get("content")),
        start_index=start,
        end_index=max(start, end),
    )


class Sources:
    """The pages a searching model read, which Perplexity repeats, and completes, in every chunk."""

    __slots__ = ("_citations", "_results")

    def __init__(self) -> None:
        self._citations: Any = None
        self._results: Any = None

    def note(self, citations: Any, results: Any) -> None:  # noqa: ANN401
        self._citations = citations or self._citations
        self._results = results or self._results

    def all(self) -> list[Citation]:
        """Each page once, in the vendor's order, which is what "[1]" in the text refers to."""
        if not self._citations and not self._results:
            return []
        results = self._results if type(self._results) is list else ()
        titles = {
            result["url"]: text(result.get("title"))
            for result in results
            if type(result) is dict and type(result.get("url")) is str
        }
        citations = self._citations if type(self._citations) is list else ()
        uris = dict.fromkeys([*(uri for uri in citations if type(uri) is str), *titles])
        return [Citation(uri=uri, title=titles.get(uri, "")) for uri in uris]


def _position(said: Any) -> int:  # noqa: ANN401
    return said if type(said) is int and 0 <= said < 2**31 else 0
