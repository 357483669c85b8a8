"""What an attempt used: the provider's word, and our count of what came after it."""

import pytest

from llm_service.catalog import tokenizers
from llm_service.domain.completion import TokenUsage
from llm_service.domain.usage import UsageSource
from llm_service.gateway.evidence import Evidence

TEXT = "The quick brown fox jumps over the lazy dog, 世界, again and again."
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


@pytest.mark.parametrize(("more", "tokens"), [(1, TOKENS + 1), (TOKENS, TOKENS)])
async def test_elsewhere_pieces_that_could_be_tokens_are(more, tokens):
    pieces = TOKENS + more
    texts = [TEXT[n : n + 1] for n in range(pieces - 1)] + [TEXT[pieces - 1 :]]
    evidence = heard(*texts, kind="deepseek", model="deepseek-chat")

    await evidence.weigh()

    assert evidence.usage().output_tokens == tokens


async def test_what_came_after_the_providers_latest_count_is_added_to_it():
    evidence = heard("of no account any more")
    evidence.so_far(TokenUsage(30, 7, cache_read_input_tokens=2))
    assert evidence.source is UsageSource.PROGRESS
    evidence.text(TEXT)

    await evidence.weigh()

    assert evidence.usage() == TokenUsage(30, 7 + TOKENS, cache_read_input_tokens=2, estimated=True)
    assert evidence.source is UsageSource.ESTIMATE


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
    ("kind", "model", "own"),
    [
        ("openai", "anything", True),
        ("azure", "my-deployment", True),
        ("openrouter", "openai/gpt-5.1", True),
        ("openai-compatible", "o3", True),
        ("openai-compatible", "olmo-2", False),
        ("anthropic", "claude-x", False),
    ],
)
def test_whose_models_are_openais(kind, model, own):
    assert tokenizers.is_own(kind, model) is own
