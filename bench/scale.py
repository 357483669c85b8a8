"""Listing, resolving and memory with 100,000 providers in 1,000 tenants, on both databases.

    python bench/scale.py [--tenants 1000] [--providers 100] [--postgresql URL]

Prints one line a figure. The bars: a page of a list within 50 ms (p95, here in one process beside
its database), a resolve within 50 us of CPU from the snapshot, memory that stays where it is put
however many tenants come by.
"""

import argparse
import asyncio
import random
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import insert

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llm_service.domain.completion import (
    Attribution,
    CompletionRequest,
    GenerationParams,
    RoutingOptions,
)
from llm_service.domain.content import Message, Part, Role, Text
from llm_service.domain.listing import Comparison, Listing, Operator, Order
from llm_service.errors import GatewayError
from llm_service.gateway.admin.providers import Providers
from llm_service.gateway.admin.secrets import Secrets
from llm_service.gateway.configuration import Configuration
from llm_service.gateway.resolution import NO_DEFAULT, Asked, resolve
from llm_service.gateway.routing import Router
from llm_service.providers.egress import Egress
from llm_service.storage import migrations, tables
from llm_service.storage.database import Database
from llm_service.vault import Vault

NOW = datetime(2026, 11, 20, tzinfo=UTC)
KINDS = ("openai", "anthropic", "google", "groq", "mistral", "deepseek", "xai", "together")
MODELS = ("gpt-5", "claude-sonnet-4-5", "gemini-2.5-pro", "deepseek-chat", "own-model")
CHUNK = 500
PAGES = 200
RESOLVES = 2000


async def main() -> None:
    arguments = parsed()
    with tempfile.TemporaryDirectory() as folder:
        urls = [f"sqlite+aiosqlite:///{folder}/scale.db"]
        with postgresql(arguments.postgresql) as url:
            for one in (*urls, *([url] if url else [])):
                await measure(one, arguments.tenants, arguments.providers)


async def measure(url: str, tenants: int, providers: int) -> None:
    migrations.upgrade(url)
    async with Database.open(url) as database:
        start = time.perf_counter()
        await fill(database, tenants, providers)
        say(
            database,
            "fill",
            f"{tenants * providers} providers, {time.perf_counter() - start:.0f} s",
        )
        await pages(database, tenants)
        configuration = Configuration(database)
        await loads(database, configuration, tenants)
        await resolves(database, configuration, tenants)


async def fill(database: Database, tenants: int, providers: int) -> None:
    for tenant in range(tenants):
        rows = [provider(tenant, number) for number in range(providers)]
        async with database.begin() as tx:
            connection = tx.providers._connection  # noqa: SLF001 - faster than one by one
            for at in range(0, len(rows), CHUNK):
                part = rows[at : at + CHUNK]
                await connection.execute(insert(tables.providers), part)
                await connection.execute(insert(tables.credentials), list(map(credential, part)))
            await connection.execute(insert(tables.models), [model(rows[0])])
            await tx.config.bump(f"tenant-{tenant}")
    async with database.begin() as tx:  # as both do by themselves, or are told to, in time
        await tx.providers._connection.exec_driver_sql("ANALYZE")  # noqa: SLF001


def provider(tenant: int, number: int) -> dict[str, object]:
    return {
        "uid": f"p-{tenant}-{number}",
        "tenant": f"tenant-{tenant}",
        "provider_id": f"provider-{number}",
        "kind": KINDS[number % len(KINDS)],
        "version": 1,
        "display_name": f"Account {number} of tenant {tenant}",
        "description": "An account with a vendor, described in a line of text.",
        "base_uri": "",
        "settings": {},
        "default_credential": "",
        "disabled": number % 10 == 9,
        "priority": number % 7,
        "weight": 1,
        "rate_limits": {},
        "timeouts": {},
        "labels": {"team": f"team-{number % 20}"},
        "create_time": NOW,
        "update_time": NOW,
    }


def credential(of: dict[str, object]) -> dict[str, object]:
    return {
        "uid": f"c-{of['uid']}",
        "provider_uid": of["uid"],
        "credential_id": "default",
        "source_type": "api_key",
        "version": 1,
        "secret_version": 1,
        "sealed": "sealed1:fernet-v1:k1:" + "A" * 300,
        "reference": "",
        "obfuscated_secret": "sk-...9f3a",
        "display_name": "",
        "disabled": False,
        "rejected": False,
        "rate_limits": {},
        "create_time": NOW,
        "update_time": NOW,
    }


def model(of: dict[str, object]) -> dict[str, object]:
    return {
        "provider_uid": of["uid"],
        "model_id": "own-model",
        "provider_model": "vendor/own-model",
        "origin": "manual",
        "version": 1,
        "aliases": ["fast"],
        "display_name": "",
        "description": "",
        "input_modalities": [],
        "output_modalities": [],
        "capabilities": {},
        "context_window_tokens": 0,
        "max_output_tokens": 0,
        "rate_limits": {},
        "default_params": {},
        "disabled": False,
        "replacement_model": "",
        "labels": {},
    }


async def pages(database: Database, tenants: int) -> None:
    providers = Providers(database, Secrets(Vault(None, "d")), Egress())
    draw = random.Random(1)  # noqa: S311 - the same pages each time
    wanted: dict[str, Callable[[], tuple[str | None, Listing]]] = {
        "page of 50, one tenant": lambda: (a_tenant(draw, tenants), Listing(limit=50)),
        "page of 100, one tenant, by name": lambda: (
            a_tenant(draw, tenants),
            Listing(limit=100, order_by=(Order("display_name"),)),
        ),
        "page of 50, all tenants": lambda: (None, Listing(limit=50)),
        "page of 50, all tenants, deep": lambda: (
            None,
            Listing(limit=50, after=(a_tenant(draw, tenants), "provider-5")),
        ),
        "page of 50, one tenant, filtered": lambda: (
            a_tenant(draw, tenants),
            Listing(limit=50, filter=Comparison("labels.team", Operator.EQ, "team-3")),
        ),
        "page of 50, all tenants, newest first": lambda: (
            None,
            Listing(limit=50, order_by=(Order("create_time", descending=True),)),
        ),
        "page of 50, all tenants, filtered": lambda: (
            None,
            Listing(limit=50, filter=Comparison("kind", Operator.EQ, "openai")),
        ),
    }
    for what, page in wanted.items():
        took = [await timed(lambda: providers.list(*page())) for _ in range(PAGES)]  # noqa: B023
        say(database, what, f"p50 {at(took, 0.5):.1f} ms, p95 {at(took, 0.95):.1f} ms")


async def loads(database: Database, configuration: Configuration, tenants: int) -> None:
    before = resident()
    took = [
        await timed(lambda: configuration.view(f"tenant-{tenant}"))  # noqa: B023
        for tenant in range(tenants)
    ]
    kept = len(configuration.loaded)
    say(database, "load of a tenant", f"p50 {at(took, 0.5):.1f} ms, p95 {at(took, 0.95):.1f} ms")
    grown = resident() - before
    say(database, "memory", f"{grown:.0f} MiB for {kept} of {tenants} tenants")
    for tenant in range(tenants):
        await configuration.view(f"tenant-{tenant}")
    say(database, "memory, all tenants once more", f"{resident() - before:.0f} MiB")


async def resolves(database: Database, configuration: Configuration, tenants: int) -> None:
    draw = random.Random(2)  # noqa: S311
    recent = [f"tenant-{n}" for n in range(tenants - min(tenants, 200), tenants)]
    for name in MODELS:
        asked = a_request(name)
        views = [await configuration.view(draw.choice(recent)) for _ in range(RESOLVES)]
        cold = resolved(views[:1], asked)
        warm = min(resolved(views, asked) for _ in range(3))
        say(database, f"resolve of {name}", f"first {cold:.0f} us, then {warm:.1f} us of CPU")


def resolved(views: list, asked: CompletionRequest) -> float:
    router, wanted = Router(), Asked(asked.attribution, asked.model)
    start = time.process_time()
    for view in views:
        with suppress(GatewayError):
            router.targets(view, resolve(view, wanted, NO_DEFAULT))
    return (time.process_time() - start) / len(views) * 1e6


def a_request(name: str) -> CompletionRequest:
    return CompletionRequest(
        model=name,
        messages=(Message(Role.USER, (Part(Text("hi")),)),),
        params=GenerationParams(),
        attribution=Attribution("t"),
        routing=RoutingOptions(),
    )


def a_tenant(draw: random.Random, tenants: int) -> str:
    return f"tenant-{draw.randrange(tenants)}"


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    start = time.perf_counter()
    await work()
    return (time.perf_counter() - start) * 1e3


def at(took: list[float], share: float) -> float:
    return sorted(took)[min(len(took) - 1, int(len(took) * share))]


def resident() -> float:
    """MiB of this process, at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def say(database: Database, what: str, figure: str) -> None:
    sys.stdout.write(f"{database.dialect:11} {what:40} {figure}\n")
    sys.stdout.flush()


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--providers", type=int, default=100)
    parser.add_argument("--postgresql", default="", help="a database of its own, to be filled")
    return parser.parse_args()


@contextmanager
def postgresql(url: str) -> Iterator[str]:
    """The URL given, or that of a server made for this, if its wheel is there; "" if not."""
    if url:
        yield url
        return
    try:
        from tests.integration import postgres_server
    except ImportError:
        yield ""
        return
    with postgres_server.running() as server:
        server.execute("CREATE DATABASE scale")
        yield server.url("scale")


if __name__ == "__main__":
    asyncio.run(main())
