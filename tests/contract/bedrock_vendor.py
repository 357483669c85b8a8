"""Bedrock's fake on a local port, with an adapter of the kind that calls it."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from vendor_server import Vendor, vendor_server

from llm_service import providers
from llm_service.domain.provider import SourceType
from llm_service.providers.base import Account, Adapter
from llm_service.providers.egress import Egress

CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
AWS_KEY = json.dumps(
    {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "secret/key", "session_token": ""}
)


@asynccontextmanager
async def bedrock(
    secret: str = AWS_KEY, source: SourceType = SourceType.AWS_KEY, **settings: str
) -> AsyncIterator[tuple[Vendor, Adapter]]:
    async with vendor_server() as vendor:
        egress = Egress(allow=("127.0.0.1",))
        account = Account(f"http://127.0.0.1:{vendor.port}", settings, secret, source)
        adapter = providers.connect("bedrock", account, egress)
        try:
            yield vendor, adapter
        finally:
            await adapter.aclose()
            await egress.aclose()


async def events_of(adapter: Adapter, asked) -> list:
    events = []
    async with aclosing(adapter.stream(asked)) as batches:
        async for batch in batches:
            events += batch
    return events
