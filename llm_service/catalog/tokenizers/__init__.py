"""OpenAI's tokenizers and Mistral's, from vocabularies in the package: nothing is ever fetched."""

import base64
import gzip
import re
import threading
from collections.abc import Mapping, Sized
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Protocol

from llm_service.domain import estimates

if TYPE_CHECKING:
    from tiktoken import Encoding

TEKKEN = "tekken"
_TEKKEN_FILE = "tekken.tiktoken"

# The contents' digests, unpacked: those that tiktoken has pinned, and of what is made of the file
# that mistral-common carries, which has no other.
SHA256: Mapping[str, str] = {
    "cl100k_base.tiktoken": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base.tiktoken": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    _TEKKEN_FILE: "64a081edb3cbb8639a4eea9a7135ab9a0467c50676c672b217ba655f4d50e127",
}

# How Tekken cuts text, from the same file.
_TEKKEN_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Everything since gpt-4o is o200k, and so is what came after this was written. The harmony
# encoding of gpt-oss differs in special tokens only, which text never turns into.
_CL100K = re.compile(r"^(ft:)?(gpt-4(?![.o\d])|gpt-3\.?5|text-embedding-|davinci-002|babbage-002)")

# Whose models are OpenAI's, whatever they are called; and such models at other vendors, at Bedrock
# after its name for the maker and perhaps a region's.
_OPENAIS = frozenset({"openai", "azure"})
_OPENAI = re.compile(r"([a-z-]+\.)*(chatgpt-|gpt-|o\d(-|$))")

# Mistral's since NeMo (July 2024), at any vendor; its own has all but those that had SentencePiece,
# of which mistral-common lists most, and models of others.
_TEKKENS = re.compile(
    r"ministral|magistral|devstral|voxtral|mistral-nemo|pixtral-12b"
    r"|mistral-small-?(24b|2409|2[5-9]|[3-9])|mistral-(medium|large)-(2[5-9]|[3-9])"
)
_MISTRALS = re.compile(r"mistral-(small|medium|large)|codestral")
_BEFORE_TEKKEN = re.compile(
    r"(small|medium|large)-(v1|23|240[2-7]|2411|pixtral)|codestral-(2405|22b|mamba)|open-mistral-7b"
)

_building = threading.Lock()

MAX_CHARACTERS = 2_000_000

# A long run without a break takes tiktoken time that grows faster than its length, and a run of
# a million spaces overflows the stack of its regex engine, so text goes in bit by bit.
_SLICE = 4096


class Vocabulary(Protocol):
    """What cuts a text into tokens."""

    def encode_ordinary(self, text: str) -> Sized:
        """The tokens, where words like `<|endoftext|>` are text like any other."""
        ...


def encoding_name(provider_model: str) -> str:
    """The encoding of an OpenAI model or of a deployment named after one: o200k unless older."""
    return "cl100k_base" if _CL100K.match(provider_model.lower()) else "o200k_base"


def load(name: str) -> "Encoding":
    """The encoding, kept from the first time on, which blocks for some 0.3 s and takes 50 to 75 MB.

    Raises:
        ValueError: the package holds no such vocabulary, or a damaged one.
    """
    if name == TEKKEN:
        return _tekken()
    import tiktoken
    from tiktoken_ext import openai_public  # type: ignore[import-untyped]

    # In place of the loader that asks its cache folder and then the network.
    openai_public.load_tiktoken_bpe = _ranks
    return tiktoken.get_encoding(name)


def _tekken() -> "Encoding":
    # As tiktoken's registry does: what breaks off together asks for it in many threads at once.
    with _building:
        return _built_tekken()


@cache
def _built_tekken() -> "Encoding":
    import tiktoken

    ranks = _ranks(_TEKKEN_FILE, SHA256[_TEKKEN_FILE])
    return tiktoken.Encoding(
        TEKKEN, pat_str=_TEKKEN_PATTERN, mergeable_ranks=ranks, special_tokens={}
    )


def vocabulary(kind: str, provider_model: str) -> tuple[str, bool]:
    """The encoding to count a model's text by, and whether it is its own: else near at best."""
    model = provider_model.lower().rpartition("/")[2]
    if kind in _OPENAIS or _OPENAI.match(model):
        return encoding_name(model), True
    here = kind == "mistral" and _MISTRALS.search(model) and not _BEFORE_TEKKEN.search(model)
    if here or _TEKKENS.search(model):
        return TEKKEN, True
    return encoding_name(""), False


def count_named(name: str, text: str) -> int:
    """How many tokens the text is in the encoding of that name; blocks as `load` and `count` do."""
    return count_bounded(load(name), text)


def count_bounded(vocabulary: Vocabulary, text: str) -> int:
    """As `count`. Beyond `MAX_CHARACTERS` length decides: the worst take a microsecond each."""
    counted, rest = text[:MAX_CHARACTERS], text[MAX_CHARACTERS:]
    return count(vocabulary, counted) + estimates.tokens_of(estimates.text_bytes(rest))


def count(vocabulary: Vocabulary, text: str) -> int:
    """How many tokens the text is; words like `<|endoftext|>` are text like any other.

    Exact where a slice of 4,096 characters can be cut between two words, else a token or so too
    many for each slice.
    """
    tokens = start = 0
    while start < len(text):
        end = _cut(text, start)
        tokens += len(vocabulary.encode_ordinary(text[start:end]))
        start = end
    return tokens


def _cut(text: str, start: int) -> int:
    """Where a slice ends: before a single space, because a word is one token with that of it."""
    end = start + _SLICE
    if end >= len(text):
        return len(text)
    space = text.rfind(" ", start + 1, end)
    alone = space > 0 and not text[space - 1].isspace() and not text[space + 1].isspace()
    return space if alone else end


def _ranks(address: str, expected_hash: str | None = None) -> dict[bytes, int]:
    """As tiktoken's own loader, which this stands in for: the rank of each token."""
    name = address.rsplit("/", 1)[-1]
    if name not in SHA256 or SHA256[name] != expected_hash:
        raise ValueError(f"the package holds no vocabulary {name}")
    content = gzip.decompress(files(__package__).joinpath(f"{name}.gz").read_bytes())
    if sha256(content).hexdigest() != expected_hash:
        raise ValueError(f"the vocabulary {name} is damaged")
    lines = (line.split() for line in content.splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in lines}
