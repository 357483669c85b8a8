"""Counting tokens for a kind whose vendor counts none."""

import threading

from calls import call

from llm_service.catalog import tokens
from llm_service.providers import token_counts
from llm_service.providers.base import TokenCount


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
