"""What an attempt used: the provider's word, and our count of what came after it."""

import pytest

from llm_service.catalog import tokenizers, tokens, vocabularies
from llm_service.catalog.vocabularies import Uncountable, Vocabularies
from llm_service.domain.completion import PartStarted, TokenUsage
from llm_service.domain.content import Part, Text, ToolCall
from llm_service.domain.usage import UsageSource
from llm_service.gateway.evidence import Evidence
from tests.fakes import a_request
from tests.vocabulary_files import given_in

TEXT = "The quick brown fox jumps over the lazy dog, 世界, again and again."
FRENCH = "Le chêne un jour dit au roseau : « Vous avez bien sujet d'accuser la nature. »"
TOKENS = tokenizers.count(tokenizers.load("o200k_base"), TEXT)


def heard(*texts: str, kind: str = "openai", model: str = "gpt-4o") -> Evidence:
    evidence = Evidence(lambda: 5, kind, model)
    for text in texts:
        evidence.text(text)
    return evidence


async def test_an_openai_models_text_is_counted_by_its_vocabulary_however_it_was_cut():
    evidence = heard(*TEXT)

    await evidence.weigh()

    assert evidence.usage() == TokenUsage(5, TOKENS, estimated=True)
    assert evidence.source is UsageSource.ESTIMATE


async def test_what_went_in_is_counted_by_the_same_vocabulary_unless_the_provider_said_it():
    asked = a_request(text=FRENCH)
    evidence = heard(TEXT)

    await evidence.weigh(request=asked)

    assert evidence.usage().input_tokens == tokens.input_tokens(asked, "gpt-4o")
    evidence.so_far(TokenUsage(30, 7))
    assert evidence.usage().input_tokens == 30


async def test_of_a_long_request_its_length_tells():
    evidence = Evidence(lambda: 25_001, "openai", "gpt-4o")
    evidence.text(TEXT)

    await evidence.weigh(request=a_request(text=FRENCH))

    assert evidence.usage() == TokenUsage(25_001, TOKENS, estimated=True)


async def test_where_a_vocabulary_fails_the_length_tells(caplog):
    class Failing(Vocabularies):
        def count(self, *_):
            raise Uncountable("PanicException")

    evidence = heard(TEXT)

    await evidence.weigh(Failing(), a_request(text=FRENCH))

    assert evidence.usage() == TokenUsage(5, -(-len(TEXT.encode()) // 4), estimated=True)
    assert TEXT not in caplog.text


@pytest.mark.parametrize(("more", "expected"), [(1, TOKENS + 1), (TOKENS, TOKENS)])
async def test_elsewhere_pieces_that_could_be_tokens_are(more, expected):
    pieces = TOKENS + more
    texts = [TEXT[n : n + 1] for n in range(pieces - 1)] + [TEXT[pieces - 1 :]]
    evidence = heard(*texts, kind="deepseek", model="deepseek-chat")

    await evidence.weigh()

    assert evidence.usage().output_tokens == expected


async def test_pieces_do_not_correct_a_vocabulary_that_the_operator_gave(tmp_path):
    given = vocabularies.read(given_in(tmp_path, "deepseek/*"), ["deepseek"])
    evidence = heard("one", "two", "", "t", "hree", kind="deepseek", model="deepseek-chat")

    await evidence.weigh(given)

    assert evidence.usage() == TokenUsage(5, 4, estimated=True)
    assert evidence.source is UsageSource.ESTIMATE


async def test_what_came_after_the_providers_latest_count_is_added_to_it():
    evidence = heard("of no account any more")
    evidence.so_far(TokenUsage(30, 7, cache_read_input_tokens=2))
    assert evidence.source is UsageSource.PROGRESS
    evidence.text(TEXT)

    await evidence.weigh()

    assert evidence.usage() == TokenUsage(30, 7 + TOKENS, cache_read_input_tokens=2, estimated=True)
    assert evidence.source is UsageSource.ESTIMATE


async def test_a_count_from_before_any_content_is_of_what_comes_and_is_not_added_to_it():
    evidence = heard()
    evidence.so_far(TokenUsage(30, 8))
    evidence.text(TEXT)
    await evidence.weigh()

    assert evidence.usage().output_tokens == TOKENS
    assert evidence.broken_off("").measured(21) == TokenUsage(30, 21)
    assert evidence.broken_off("").measured(5) == TokenUsage(30, 8)


async def test_what_the_vendor_measures_is_added_to_its_latest_count_and_to_what_is_no_text():
    evidence = heard("of no account any more")
    evidence.so_far(TokenUsage(30, 7))
    evidence.text("two tokens")
    evidence.event(PartStarted(1, Part(ToolCall("", "a_tool_with_a_name", "{}"))))

    answer = evidence.broken_off("")

    assert answer.text == "two tokens"
    assert answer.measured(2, input_tokens=31) == TokenUsage(31, 7 + 5 + 2, estimated=True)


async def test_what_is_said_when_asked_is_the_providers_count_of_what_came():
    evidence = heard(TEXT)

    evidence.asked(TokenUsage(30, 21))

    assert (evidence.usage(), evidence.source) == (TokenUsage(30, 21), UsageSource.PROGRESS)
    assert evidence.broken_off("") is None


async def test_text_that_comes_with_its_part_is_text():
    evidence = heard()
    evidence.event(PartStarted(0, Part(Text("all "))))
    evidence.text("of it")

    assert evidence.broken_off("").text == "all of it"
    assert evidence.broken_off("").is_text


async def test_the_last_word_stands():
    evidence = heard(TEXT)
    evidence.last_word(TokenUsage(3, 4))

    await evidence.weigh()

    assert evidence.usage() == TokenUsage(3, 4)
    assert evidence.source is UsageSource.PROVIDER


async def test_a_count_is_of_no_use_once_more_has_come():
    evidence = heard(TEXT)
    await evidence.weigh()

    evidence.text("x" * 400)

    assert evidence.usage().output_tokens >= 100


@pytest.mark.parametrize(
    ("kind", "model", "name"),
    [
        ("openai", "anything", "o200k_base"),
        ("azure", "my-deployment", "o200k_base"),
        ("openrouter", "openai/gpt-5.1", "o200k_base"),
        ("openrouter", "openai/gpt-3.5-turbo", "cl100k_base"),
        ("openai-compatible", "o3", "o200k_base"),
        ("groq", "openai/gpt-oss-120b", "o200k_base"),
        ("fireworks", "accounts/fireworks/models/gpt-oss-20b", "o200k_base"),
        ("ollama", "gpt-oss:20b", "o200k_base"),
        ("bedrock", "openai.gpt-oss-120b-1:0", "o200k_base"),
        ("bedrock", "us.openai.gpt-oss-20b-1:0", "o200k_base"),
        ("mistral", "mistral-large-latest", "tekken"),
        ("mistral", "mistral-small-2603", "tekken"),
        ("mistral", "mistral-small-2409", "tekken"),
        ("mistral", "codestral-2508", "tekken"),
        ("mistral", "open-mistral-nemo", "tekken"),
        ("bedrock", "mistral.mistral-large-3-675b-instruct", "tekken"),
        ("bedrock", "mistral.ministral-3-8b-instruct", "tekken"),
        ("together", "mistralai/Mistral-Small-24B-Instruct-2501", "tekken"),
        ("ollama", "mistral-small3.2", "tekken"),
        ("ollama", "devstral", "tekken"),
    ],
)
def test_a_model_is_counted_by_a_vocabulary_of_its_own_wherever_it_is(kind, model, name):
    assert tokenizers.vocabulary(kind, model) == (name, True)


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("openai-compatible", "olmo-2"),
        ("anthropic", "claude-x"),
        ("bedrock", "amazon.nova-pro-v1:0"),
        ("bedrock", "mistral.mistral-large-2402-v1:0"),
        ("bedrock", "us.mistral.pixtral-large-2502-v1:0"),
        ("mistral", "mistral-large-2411"),
        ("mistral", "mistral-medium-2312"),
        ("mistral", "codestral-2405"),
        ("mistral", "open-mixtral-8x22b"),
        ("mistral", "zai-glm-5-2"),  # it serves others' models too
        ("ollama", "mistral"),
        ("openrouter", "some/mistral-large-merge"),
    ],
)
def test_others_are_counted_by_one_that_is_near_at_best(kind, model):
    assert tokenizers.vocabulary(kind, model) == ("o200k_base", False)


async def test_a_mistral_models_text_is_counted_by_tekken():
    evidence = heard(FRENCH, kind="mistral", model="mistral-large-2512")

    await evidence.weigh()

    assert evidence.usage() == TokenUsage(5, 22, estimated=True)
