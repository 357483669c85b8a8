"""Counting tokens for a kind whose vendor counts none."""

import threading

import pytest
from calls import call, user

from llm_service import providers
from llm_service.catalog import tokens
from llm_service.providers import token_counts
from llm_service.providers.base import Account, TokenCount
from llm_service.providers.egress import Egress


async def test_tokens_are_counted_off_the_event_loop_and_called_an_estimate(monkeypatch):
    seen = []

    def counted(request, model):
        seen.append((threading.current_thread(), model))
        return 7

    monkeypatch.setattr(tokens, "input_tokens", counted)

    count = await token_counts.count(call(model="gpt-4"))

    assert count == TokenCount(7, estimated=True)
    ((thread, model),) = seen
    assert thread is not threading.current_thread()
    assert model == "gpt-4"


@pytest.mark.parametrize(
    ("kind", "base_uri", "model", "text_tokens"),
    [
        ("openai", "", "gpt-4o", 2),
        ("openai", "", "gpt-3.5-turbo", 6),
        ("openai", "", "gpt-6.1-sol", 2),
        ("azure", "https://acme.openai.azure.com", "our-deployment", 2),
    ],
)
async def test_openais_models_are_counted_with_their_vocabulary_and_nobody_is_asked(
    kind, base_uri, model, text_tokens
):
    adapter = providers.connect(kind, Account(base_uri, {}, "a-key"), Egress())

    count = await adapter.count_tokens(call(user(" здравствуйте"), model=model))
    await adapter.aclose()

    # Three for the message, one for its role, three for how the answer begins.
    assert count == TokenCount(7 + text_tokens, estimated=True)
