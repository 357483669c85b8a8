"""Feeds every kind's decoder what coverage-guided search finds, until the time is up.

A failure that is not one of ours, a second of work, or more than the memory cap ends it with the
input that did it. Run by `make fuzz`; not a part of the suite, which draws its own examples.
"""

import asyncio
import os
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["llm_service.providers"]):
    from broken import REPLY, read_safely
    from calls import call
    from every_vendor import KINDS, connected
    from test_shared_fuzz import SAID
    from vendor_server import Asked

    from llm_service.domain.content import FunctionTool

MEMORY_CAP_MB = 1024


async def exchange_and_stream(kind):
    asked = call(model=kind.model, tools=(FunctionTool("weather"),))
    async with connected(kind) as (_, adapter):
        exchange = adapter._api.exchange(asked, stream=True)
    request = Asked("POST", exchange.path, {}, exchange.body)
    return exchange, b"".join(kind.fake.stream(SAID, request).pieces)


def main() -> None:
    chosen = os.environ.get("KIND")
    kinds = [KINDS[chosen]] if chosen else [kind for kind in KINDS.values() if kind.name != "echo"]
    corpus = Path(os.environ["CORPUS"])
    corpus.mkdir(parents=True, exist_ok=True)
    exchanges = []
    for number, kind in enumerate(kinds):
        with atheris.instrument_imports(include=["llm_service.providers"]):  # a kind's own modules
            exchange, stream = asyncio.run(exchange_and_stream(kind))
        exchanges.append(exchange)
        for form in (0, 1, 255):
            (corpus / f"{kind.name}-{form}").write_bytes(bytes((number, form)) + stream)

    def one(data: bytes) -> None:
        if len(data) < 2:
            return
        exchange = exchanges[data[0] % len(exchanges)]
        size, body = data[1], data[2:]
        pieces = [body[n : n + size] for n in range(0, len(body), size)] if size else [body]
        read_safely(exchange.decoder(REPLY), pieces, whole=size == 0)

    limits = [
        f"-max_total_time={os.environ.get('SECONDS', '60')}",
        f"-rss_limit_mb={MEMORY_CAP_MB}",
    ]
    atheris.Setup([sys.argv[0], *limits, "-timeout=5", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
