"""Which vocabulary counts a model's tokens, and what is wrong with one that cannot be used."""

import json
import subprocess
import sys
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llm_service.catalog import tokenizers, vocabularies
from llm_service.catalog.vocabularies import PACKAGED, BadVocabularies, Uncountable, Vocabularies
from llm_service.providers.base import TokenCount
from tests.fakes import FakeAdapter, a_request
from tests.unit.two_providers import World
from tests.vocabulary_files import THREE_LETTERS, given_in

KINDS = ("bedrock", "groq", "openai", "openai-compatible")
TEXT = "the sun came over low hills"
TOKENS = 9  # of three letters at most


def read(file) -> Vocabularies:
    return vocabularies.read(file, KINDS)


@pytest.mark.parametrize(
    ("pattern", "kind", "model"),
    [
        ("bedrock/meta.llama3*", "bedrock", "meta.llama3-1-8b-instruct-v1:0"),
        ("bedrock/*meta.llama3*", "bedrock", "us.meta.llama3-1-8b-instruct-v1:0"),
        ("*/qwen3*", "openai-compatible", "Qwen/Qwen3-32B"),
        ("*/Qwen/Qwen3-*", "openai-compatible", "qwen/qwen3-32b"),
        ("groq/*", "groq", "anything"),
        ("*llama*", "groq", "llama-3.3-70b-versatile"),
        ("g?oq/a", "groq", "a"),
        ("openai/gpt-4o", "openai", "gpt-4o"),  # the operator's word goes before ours
    ],
)
def test_a_model_that_a_pattern_matches_is_counted_by_what_the_operator_gave(
    tmp_path, pattern, kind, model
):
    known = read(given_in(tmp_path, pattern))

    assert known.count(kind, model, TEXT) == (TOKENS, True)


@pytest.mark.parametrize(
    ("pattern", "kind", "model"),
    [
        ("bedrock/meta.llama3*", "openai-compatible", "meta.llama3-1-8b-instruct-v1:0"),
        ("bedrock/meta.llama3*", "bedrock", "us.meta.llama3-1-8b-instruct-v1:0"),
        ("openai/*", "openai-compatible", "m"),
        ("groq/llama", "groq", "llama-3"),
    ],
)
def test_others_are_counted_as_without(tmp_path, pattern, kind, model):
    known = read(given_in(tmp_path, pattern))

    assert known.given(kind, model) is None
    assert known.count(kind, model, TEXT) == PACKAGED.count(kind, model, TEXT)


_NAMES = st.text("ab/.:-AB", max_size=6)


@given(
    st.lists(st.tuples(st.sampled_from(KINDS), _NAMES, st.booleans()), max_size=5),
    st.sampled_from(KINDS),
    _NAMES,
)
def test_of_all_patterns_the_first_that_matches_decides(patterns, kind, model):
    """A pattern without a `*` means one model, in any case; with one at its end, what begins so."""
    marks = [object() for _ in patterns]
    of = Vocabularies(
        tuple(
            (f"{k}/{name}{'*' * open_ended}".lower(), mark)
            for (k, name, open_ended), mark in zip(patterns, marks, strict=True)
        )
    )
    asked = model.lower()
    means = [
        k == kind and (asked.startswith(name.lower()) if open_ended else asked == name.lower())
        for k, name, open_ended in patterns
    ]
    expected = marks[means.index(True)] if True in means else None

    assert of.given(kind, model) is expected


def test_a_file_that_two_patterns_name_is_built_once(tmp_path):
    one, other = read(given_in(tmp_path, "groq/a", "groq/b")).by_pattern

    assert one[1] is other[1]


@cache
def trained():
    """A vocabulary of some hundred words, made of this page."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        show_progress=False,
        initial_alphabet=alphabet,
        special_tokens=["<|eot_id|>"],
    )
    with open(__file__, encoding="utf-8") as page:
        made.train_from_iterator([page.read()], trainer)
    return made


def given_a(tokenizer: str, folder) -> Vocabularies:
    (folder / "one.json").write_text(tokenizer)
    (folder / "v.json").write_text('{"*": "one.json"}')
    return read(folder / "v.json")


@pytest.fixture(scope="module")
def from_training(tmp_path_factory) -> Vocabularies:
    return given_a(trained().to_str(), tmp_path_factory.mktemp("trained"))


@given(st.text())
@example("<|eot_id|>" * 3)
def test_any_text_comes_to_what_the_library_itself_makes_of_it(from_training, text):
    plain = text.replace("<|eot_id|>", "")

    assert from_training.count("groq", "m", plain) == (
        len(trained().encode(plain, add_special_tokens=False)),
        True,
    )
    assert from_training.count("groq", "m", text)[0] >= text.count("<|eot_id|>")


def test_the_words_of_its_own_markers_are_text(from_training):
    assert len(trained().encode("<|eot_id|>")) == 1
    assert from_training.count("groq", "m", "<|eot_id|>")[0] > 1


@settings(max_examples=20)
@given(st.text(alphabet=" ab\n", min_size=4000, max_size=4200))
def test_what_is_longer_than_a_slice_is_a_token_or_two_off(from_training, text):
    long = f"{text} and {text}"
    whole = len(trained().encode(long, add_special_tokens=False))

    assert abs(from_training.count("groq", "m", long)[0] - whole) <= 4


@pytest.mark.parametrize("text", [" ", "a", "\n", "模型", "👍🏽", "\ud83d", "\x00", "don't "])
def test_runs_and_what_is_no_text_are_counted_and_stop_no_one(from_training, text):
    assert from_training.count("groq", "m", text * 100_000)[0] > 0


def test_what_a_file_says_of_cutting_and_filling_texts_is_for_others(tmp_path):
    made = trained().from_str(trained().to_str())
    made.enable_truncation(4)
    short = given_a(made.to_str(), tmp_path).count("groq", "m", "word " * 50)
    made.no_truncation()
    made.enable_padding(length=100)
    long = given_a(made.to_str(), tmp_path).count("groq", "m", "word")

    assert short[0] >= 50
    assert long[0] < 5


NO_WORDS = {**THREE_LETTERS, "model": {"type": "BPE", "vocab": {}, "merges": []}}
NO_STRANGERS = {
    **THREE_LETTERS,
    "model": {"type": "WordLevel", "vocab": {"A": 0}, "unk_token": "[UNK]"},
}


# Cuts texts into pieces of no length.
PANIC = {**THREE_LETTERS, "pre_tokenizer": {"type": "FixedLength", "length": 0}}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("{", "v.json: is not JSON"),
        ("[" * 100_000, "v.json: is not JSON"),
        ("\xff", "v.json: is not JSON"),
        ("[]", "v.json: must be an object"),
        ('"three.json"', "v.json: must be an object"),
        ('{"groq/*": 3}', 'v.json: "groq/.*" must have the name'),
        ('{"groq/*": {"file": "three.json"}}', "must have the name"),
        ('{"groq/*": ""}', "must have the name"),
        ('{"llama3*": "three.json"}', '"llama3.*" begins with no kind'),
        ('{"grok/*": "three.json"}', '"grok/.*" begins with no kind'),
        ('{"": "three.json"}, ', "is not JSON"),
        ('{"groq": "three.json"}', '"groq" begins with no kind'),
        ('{"g?oq": "three.json"}', '"g.oq" begins with no kind'),
        ('{"": "three.json"}', '"" begins with no kind'),
        ('{"groq/a": "three.json", "GROQ/A": "three.json"}', '"GROQ/A" is there twice'),
        ('{"groq/*": "three.json", "groq/*": "three.json"}', "is there twice"),
        ('{"groq/*": "away.json"}', "away.json: No such file"),
        ('{"groq/*": "."}', "Is a directory"),
        ('{"groq/*": "a\\u0000b"}', "is no name of a file"),
        ('{"groq/*": "quoting.json"}', r"is no tokenizer.json that counts \(ValueError\)$"),
        ('{"groq/*": "panic.json"}', r"panic.json: is no tokenizer.json that counts \(PanicEx"),
        ('{"groq/*": "v.json"}', r"v.json: is no tokenizer.json that counts"),
        ('{"groq/*": "no-strangers.json"}', r"no-strangers.json: is no tokenizer.json that counts"),
        ('{"groq/*": "no-words.json"}', "no-words.json: is a tokenizer.json without a word"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_file_and_the_reason(tmp_path, said, why):
    given_in(tmp_path)
    (tmp_path / "no-words.json").write_text(json.dumps(NO_WORDS))
    (tmp_path / "no-strangers.json").write_text(json.dumps(NO_STRANGERS))
    (tmp_path / "quoting.json").write_text('"sk-0123456789abcdef"')
    (tmp_path / "panic.json").write_text(json.dumps(PANIC))
    (tmp_path / "v.json").write_text(said, encoding="latin-1")

    with pytest.raises(BadVocabularies, match=why) as refused:
        read(tmp_path / "v.json")

    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadVocabularies, match=r"v.json: No such file"):
        read(tmp_path / "v.json")


def test_where_the_library_is_not_installed_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)

    with pytest.raises(BadVocabularies, match=r"pip install llm-service\[tokenizers\]"):
        read(given_in(tmp_path, "groq/*"))


def test_marks_that_a_file_puts_around_texts_are_not_of_the_text(tmp_path):
    from tokenizers import processors

    made = trained().from_str(trained().to_str())
    begin = ("<|eot_id|>", made.token_to_id("<|eot_id|>"))
    made.post_processor = processors.TemplateProcessing("<|eot_id|> $A", special_tokens=[begin])

    assert given_a(made.to_str(), tmp_path).count("groq", "m", "word") == given_a(
        trained().to_str(), tmp_path
    ).count("groq", "m", "word")


def test_what_went_in_is_counted_by_the_vocabulary_given(tmp_path):
    known = read(given_in(tmp_path, "groq/*"))
    asked = a_request(text=TEXT)

    assert known.input_tokens("groq", "m", asked) == 3 + 3 + 2 + TOKENS  # "user" is two
    assert known.input_tokens("openai", "m", asked) == 3 + 3 + 1 + 6


class Fails:
    def encode_ordinary(self, text):
        raise self.error(text)

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error


class Panic(BaseException):
    """As Rust's is one."""


@pytest.mark.parametrize("error", [ValueError, Panic])
def test_a_vocabulary_that_fails_at_a_text_tells_nothing_of_it(error):
    known = Vocabularies((("*", Fails(error)),))

    with pytest.raises(Uncountable) as failed:
        known.count("groq", "m", "a secret")
    with pytest.raises(Uncountable):
        known.input_tokens("groq", "m", a_request(text="a secret"))

    assert str(failed.value) == error.__name__
    assert failed.value.__context__ is None


def test_so_does_one_of_the_package_that_cannot_be_loaded(monkeypatch):
    monkeypatch.setattr(tokenizers, "load", Fails(ValueError).encode_ordinary)

    with pytest.raises(Uncountable):
        PACKAGED.count("groq", "m", "a secret")
    with pytest.raises(Uncountable):
        PACKAGED.input_tokens("groq", "m", a_request(text="a secret"))


async def test_a_vocabulary_that_fails_leaves_the_count_as_it_was():
    world = World(FakeAdapter(), vocabularies=Vocabularies((("*", Fails(Panic)),)))
    plain = World(FakeAdapter())

    asked = a_request(text="eight words")
    count = await world.completions.count_tokens(asked, None)

    assert count == await plain.completions.count_tokens(asked, None)


def test_neither_reading_nor_counting_dials_anyone(tmp_path):
    script = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise AssertionError('a socket')\n"
        "socket.socket = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from pathlib import Path\n"
        "from llm_service.catalog import vocabularies\n"
        "known = vocabularies.read(Path(sys.argv[1]), ['groq'])\n"
        "print(known.count('groq', 'm', 'hello'), 'huggingface_hub' in sys.modules)\n"
    )
    file = str(given_in(tmp_path, "groq/*"))

    done = subprocess.run(
        [sys.executable, "-c", script, file], env={}, capture_output=True, text=True, check=True
    )

    assert done.stdout == "(2, True) False\n"


def test_beyond_the_bound_length_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizers, "MAX_CHARACTERS", 30)
    known = read(given_in(tmp_path, "groq/*"))

    assert known.count("groq", "m", "x" * 30 + "y" * 400) == (10 + 100, True)


class Counting(FakeAdapter):
    """A vendor that counts itself."""

    async def count_tokens(self, call):
        return TokenCount(11, estimated=False)


@pytest.mark.parametrize(
    ("adapter", "tokens", "estimated"),
    [(FakeAdapter(), 3 + 3 + 2 + 4, True), (Counting(), 11, False)],
)
async def test_tokens_are_counted_by_the_vocabulary_given_where_the_vendor_counts_not(
    tmp_path, adapter, tokens, estimated
):
    known = vocabularies.read(given_in(tmp_path, "*/m"), ["openai-compatible"])
    world = World(adapter, vocabularies=known)

    count = await world.completions.count_tokens(a_request(text="eight words"), None)

    assert (count.input_tokens, count.estimated) == (tokens, estimated)
