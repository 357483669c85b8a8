"""Which vocabulary a model's text is counted by: one the operator gave for it, else the package's.

Nothing is ever fetched: what is read are files here.
"""

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_service.catalog import tokenizers, tokens
from llm_service.catalog.tokenizers import Vocabulary
from llm_service.domain.completion import CompletionRequest

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

# The last of these no vocabulary has a word for: those that cannot count such a thing show it.
_PROBE = "A word, 字 да نعم नमः 한 \N{FAMILY} \ue000\n"

_WILD = re.compile(r"[*?\[]")


class BadVocabularies(ValueError):
    """Why what the operator gave cannot be used, in one line."""


class Uncountable(Exception):
    """A vocabulary failed at a text: by an error of such a type. Nothing is told of either."""


@dataclass(frozen=True, slots=True)
class Vocabularies:
    """Those an operator gave, each by a pattern of `kind/model` in lower case. The first counts."""

    by_pattern: tuple[tuple[str, Vocabulary], ...] = ()

    def given(self, kind: str, provider_model: str) -> Vocabulary | None:
        """The model's; None: none was given."""
        name = f"{kind}/{provider_model}".lower()
        for pattern, vocabulary in self.by_pattern:
            if fnmatchcase(name, pattern):
                return vocabulary
        return None

    def count(self, kind: str, provider_model: str, text: str) -> tuple[int, bool]:
        """How many tokens the text is, and whether by a vocabulary of the model's own.

        Blocks as `tokenizers.load` and `tokenizers.count` do.

        Raises:
            Uncountable: nobody knows.
        """
        given = self.given(kind, provider_model)
        if given is not None:
            return _counted(lambda: tokenizers.count_bounded(given, text)), True
        name, own = tokenizers.vocabulary(kind, provider_model)
        return _counted(lambda: tokenizers.count_named(name, text)), own

    def input_tokens(self, kind: str, provider_model: str, request: CompletionRequest) -> int:
        """What went in: as `tokens.input_tokens`, by the vocabulary that `count` would take.

        Raises:
            Uncountable: nobody knows.
        """
        given = self.given(kind, provider_model)
        name, _ = tokenizers.vocabulary(kind, provider_model)
        return _counted(
            lambda: tokens.input_tokens(request, provider_model, given or tokenizers.load(name))
        )


PACKAGED = Vocabularies()
"""None was given."""


def _counted(count: Callable[[], int]) -> int:
    try:
        return count()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - Rust's panics are no `Exception`, and quote
        failed = type(error).__name__
    raise Uncountable(failed)


def read(file: Path, kinds: Collection[str]) -> Vocabularies:
    """Those of a JSON object: patterns, and with each a `tokenizer.json`, relative to the object's.

    Builds them all: that holds up every thread for some 0.3 s each, so it is for before calls come.

    Args:
        file: the object's.
        kinds: of providers, one of which each pattern must begin with, if with no `*`.

    Raises:
        BadVocabularies: it is something else, or a vocabulary cannot be used.
    """
    built: dict[str, Vocabulary] = {}
    found: dict[str, Vocabulary] = {}
    for pattern, name in _entries(file):
        if not isinstance(name, str) or not name:
            raise BadVocabularies(f'{file}: "{pattern}" must have the name of a file')
        if not _may_match(pattern.lower(), kinds):
            raise BadVocabularies(
                f'{file}: "{pattern}" begins with no kind of provider: it must read kind/model, as'
                " bedrock/meta.llama3* or */qwen3*"
            )
        if pattern.lower() in found:
            raise BadVocabularies(f'{file}: "{pattern}" is there twice')
        if name not in built:
            built[name] = _build(file.parent / name)
        found[pattern.lower()] = built[name]
    return Vocabularies(tuple(found.items()))


def _entries(file: Path) -> list[tuple[str, Any]]:
    """In their order, those that are there twice too."""
    content = _content(file)
    try:
        said = json.loads(content, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise BadVocabularies(f"{file}: is not JSON") from error
    if not isinstance(said, _Pairs):
        raise BadVocabularies(f"{file}: must be an object of patterns and names of files")
    return said


class _Pairs(list[tuple[str, Any]]):
    """An object as it is written."""


def _may_match(pattern: str, kinds: Collection[str]) -> bool:
    """Whether a model of one of the kinds could be meant."""
    if "/" not in pattern and "*" not in pattern:
        return False
    fixed = _WILD.split(pattern, maxsplit=1)[0]
    return any(f"{kind}/".startswith(fixed) or fixed.startswith(f"{kind}/") for kind in kinds)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadVocabularies(f"{file}: {error.strerror}") from error
    except ValueError as error:  # NUL characters, half a surrogate pair
        raise BadVocabularies(f"{str(file)!r} is no name of a file") from error


def _build(file: Path) -> Vocabulary:
    """It has counted once."""
    content = _content(file)
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise BadVocabularies(
            "vocabularies are read with what is not installed: pip install llm-service[tokenizers]"
        ) from error
    built: list[Vocabulary] = []

    def probed() -> int:
        built.append(_Given(Tokenizer.from_buffer(content)))
        return tokenizers.count(built[0], _PROBE)

    try:
        tokens_found = _counted(probed)
    except Uncountable as error:
        raise BadVocabularies(f"{file}: is no tokenizer.json that counts ({error})") from error
    if not tokens_found:
        raise BadVocabularies(f"{file}: is a tokenizer.json without a word")
    return built[0]


class _Given:
    """A `tokenizer.json`, with what makes texts longer or shorter than they are left out."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True  # their words are text like any other
        self._tokenizer = tokenizer

    def encode_ordinary(self, text: str) -> "Encoding":
        whole = text.encode(errors="replace").decode()  # half a surrogate pair is none
        # Unlike `encode`, it lets other threads run.
        [encoding] = self._tokenizer.encode_batch_fast([whole], add_special_tokens=False)
        return encoding
