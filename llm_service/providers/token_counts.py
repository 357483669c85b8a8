"""Counting tokens here, for vendors whose vocabulary is known and who count nothing themselves."""

import asyncio

from llm_service.catalog import tokens
from llm_service.providers.base import Call, TokenCount


async def count(call: Call) -> TokenCount:
    """The input tokens of a call to one of OpenAI's models, off the event loop."""
    counted = await asyncio.to_thread(tokens.input_tokens, call.request, call.provider_model)
    return TokenCount(counted, estimated=True)
