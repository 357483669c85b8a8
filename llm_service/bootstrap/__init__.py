"""The composition root: what this process is made of, and in which order it stops."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from llm_service.bootstrap import alerts, memory, parts, snapshots
from llm_service.bootstrap.access import Access, access_of, client_keys, first_key
from llm_service.bootstrap.budgets import budgets_of
from llm_service.bootstrap.calling import Calling
from llm_service.bootstrap.foundation import Foundation, open_foundation
from llm_service.bootstrap.health import Health, health_of
from llm_service.bootstrap.keys import key_rings, vault_of
from llm_service.bootstrap.ledger import ledger_of
from llm_service.bootstrap.rate_limits import rate_limiter
from llm_service.bootstrap.schema import migrate, prepare_schema
from llm_service.bootstrap.services import services
from llm_service.bootstrap.trouble import CannotStart
from llm_service.bootstrap.vocabularies import vocabularies_of
from llm_service.errors import GatewayError
from llm_service.gateway import pricing
from llm_service.gateway.admin.budgets import Budgets
from llm_service.gateway.admin.model_configs import ModelConfigs
from llm_service.gateway.admin.upkeep import Upkeep
from llm_service.gateway.admin.usage_upkeep import UsageUpkeep
from llm_service.gateway.alerts.alarm import Alarm
from llm_service.gateway.alerts.feed import AlertFeed
from llm_service.gateway.configuration import SHARED, Configuration
from llm_service.gateway.health.administration import HealthAdministration
from llm_service.gateway.leased_ledger import LeasedLedger
from llm_service.gateway.ledger import JournalledLedger, Ledger
from llm_service.gateway.model_catalogue import ModelCatalogue
from llm_service.gateway.repeatable_calls import RepeatableCalls
from llm_service.gateway.routing import Router
from llm_service.gateway.upstream import Upstream
from llm_service.gateway.usage_reports import UsageReports
from llm_service.gateway.verdicts import Verdicts
from llm_service.providers.egress import Egress
from llm_service.rpc.access import AccessServicer
from llm_service.rpc.audit import AuditServicer
from llm_service.rpc.budget import BudgetServicer
from llm_service.rpc.callers import Authenticate
from llm_service.rpc.model import ModelServicer
from llm_service.rpc.policy import Unprotected
from llm_service.rpc.provider_admin import ProviderAdminServicer
from llm_service.rpc.server import Registration, Serving, build_server
from llm_service.rpc.tls import TlsFiles, UnusableTls, server_credentials
from llm_service.rpc.usage import UsageServicer
from llm_service.settings import Settings
from llm_service.storage.database import Database
from llm_service.telemetry import logs

if TYPE_CHECKING:
    from grpc import ServerCredentials

__all__ = ["Announce", "CannotStart", "application", "client_keys", "migrate", "seed", "serve"]

logger = logging.getLogger(__name__)

Announce = Callable[[str, list[str]], None]
"""Told once when the service is up: "host:port", and what an operator should know."""


async def serve(settings: Settings, announce: Announce) -> None:
    """Serve until a signal, then drain.

    Raises:
        CannotStart: something an operator must mend first.
    """
    logs.set_up(level=settings.log_level, as_json=settings.log_format == "json")
    async with application(settings) as (serving, notes):
        address = _listen(serving, settings)
        memory.settle()
        await serving.start()
        # Not before: a start that fails would take the only copy of the key with it.
        announce(address, [*notes, *await first_key(settings)])
        await serving.until_signalled(grace=settings.drain_seconds)


@asynccontextmanager
async def application(settings: Settings) -> AsyncIterator[tuple[Serving, list[str]]]:
    """The service, built and running but not listening; leaving the block settles and closes it.

    The list holds what an operator should know about how it was started.

    Raises:
        CannotStart: something an operator must mend first.
    """
    notes: list[str] = []
    async with AsyncExitStack() as stack:
        base = await open_foundation(settings, stack, notes)
        database, telemetry = base.database, base.telemetry
        access = await access_of(settings, base, notes)
        ledger, keeping = await stack.enter_async_context(ledger_of(settings, database))
        telemetry.observe_backlog(lambda: ledger.backlog)
        configuration = snapshots.begun(settings, database, base.start)
        await _load(configuration)
        database.after_change(configuration.refresh)
        database.after_change(access.known.refresh)
        health = health_of(settings, database, telemetry)
        alarm = Alarm(database, telemetry)  # before anything stores records, which may raise some
        await stack.enter_async_context(_running(*keeping, base.manager.sweep()))
        await _follow(settings, stack, base, configuration, access, health)
        upkeep = UsageUpkeep(database, settings.usage_retention_months)
        work = (telemetry.watch_loop(), Upkeep(database).run(), upkeep.run())
        await stack.enter_async_context(_running(*work, *alerts.work(settings, base, alarm)))
        calls = RepeatableCalls(database, base.vault, settings.keep_answers)
        await stack.enter_async_context(_running(calls.run()))
        stack.push_async_callback(calls.aclose)
        calling = await _calling(settings, stack, base, configuration, ledger, health)
        servicers = (
            *calling.servicers(settings, calls, ModelConfigs(database)),
            *_servicers(base, ledger, health.administration),
            AccessServicer(access.keys),
            *alerts.servicers(base),
        )
        serving = _server(services(servicers), settings, base, configuration, access.authenticate)
        rings = key_rings(settings, base.vault, database, configuration, serving, base.audit)
        await stack.enter_async_context(
            _running(rings.follow(settings.config_poll_seconds), base.audit.run())
        )
        stack.push_async_callback(lambda: calling.upstream.drains.aclose(serving.grace_left))
        yield serving, notes


async def _follow(
    settings: Settings,
    stack: AsyncExitStack,
    base: Foundation,
    configuration: Configuration,
    access: Access,
    health: Health,
) -> None:
    """Keep what is known of the database as new as it is there, and on the disk for a start."""
    following = configuration.follow(
        settings.config_poll_seconds,
        lambda _: access.known.up_to(configuration.generation),
        health.sharing.follow,
    )
    work = [following, health.sharing.run()]
    deployment = base.start.deployment
    if keeper := await snapshots.keeper(settings, configuration, access.known, deployment):
        stack.push_async_callback(keeper.write)
        work.append(keeper.run())
    await stack.enter_async_context(_running(*work))


async def _calling(
    settings: Settings,
    stack: AsyncExitStack,
    base: Foundation,
    configuration: Configuration,
    ledger: JournalledLedger | LeasedLedger,
    health: Health,
) -> Calling:
    """What calls go through, and what works for it in the background."""
    database, telemetry = base.database, base.telemetry
    limiter = await stack.enter_async_context(rate_limiter(settings, telemetry))
    router, verdicts = Router(health.circuits), Verdicts(database)
    budgets = budgets_of(database, configuration, ledger, router)
    await stack.enter_async_context(_running(verdicts.run(), *budgets.work))
    gates = (health.gate, limiter, budgets.gate)  # the last one may wait
    vocabularies = await vocabularies_of(settings)
    upstream = Upstream(
        base.manager,
        ledger,
        telemetry,
        verdicts,
        parts.call_limits(settings),
        gates,
        vocabularies=vocabularies,
    )
    return Calling(configuration, upstream, router, limiter, health.intake, budgets.downgrades)


def _servicers(
    base: Foundation, ledger: Ledger, health: HealthAdministration
) -> tuple[object, ...]:
    return (
        BudgetServicer(Budgets(base.database), AlertFeed(base.database)),
        ProviderAdminServicer(base.administration, health),
        ModelServicer(ModelCatalogue(base.database)),
        UsageServicer(UsageReports(base.database, ledger.flush)),
        AuditServicer(base.audit),
    )


async def seed(settings: Settings) -> list[str]:
    """Create what is not there yet of the registry; says what it did, line by line.

    Raises:
        CannotStart: something an operator must mend first.
    """
    notes: list[str] = []
    await prepare_schema(settings, notes)
    async with Database.open(settings.database_url) as database:
        vault = await vault_of(settings, database, notes)
        parts.audit(database, vault)
        egress = Egress(settings.egress_allow)
        administration = parts.administration(settings, database, vault, egress)
        lines = await parts.seeds(settings, database, administration).plant_registry()
    return [*notes, *lines]


def _server(
    registered: list[Registration],
    settings: Settings,
    base: Foundation,
    configuration: Configuration,
    authenticate: Authenticate,
) -> Serving:
    base.telemetry.observe_configuration(lambda: (configuration.quarantined, configuration.age))
    try:
        return build_server(
            registered,
            telemetry=base.telemetry,
            limits=parts.limits(settings),
            authenticate=authenticate,
            audit=base.audit,
            generation=lambda: configuration.generation,
            reflection=settings.reflection,
        )
    except Unprotected as error:
        raise CannotStart(str(error)) from error


async def _load(configuration: Configuration) -> None:
    """Read what is shared, and have prices at hand before the first call needs them."""
    try:
        view = await configuration.view(SHARED)
    except GatewayError as error:
        raise CannotStart(str(error)) from error
    if any(pricing.needs_loading(provider.kind) for provider in view.providers.values()):
        await asyncio.to_thread(pricing.load)


@asynccontextmanager
async def _running(*work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Background tasks for the length of the block. Each outlives what can go wrong in it."""
    tasks = [asyncio.create_task(one) for one in work]
    for task in tasks:
        task.add_done_callback(_complain)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _complain(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("a background task died", exc_info=error)


def _listen(serving: Serving, settings: Settings) -> str:
    """Bind the configured address; returns it with the port that was bound."""
    try:
        port = serving.listen(str(settings.listen), _credentials(settings))
    except RuntimeError as error:
        raise CannotStart(f"cannot listen on {settings.listen}") from error
    except UnusableTls as error:
        raise CannotStart(str(error)) from error
    return str(type(settings.listen)(settings.listen.host, port))


def _credentials(settings: Settings) -> "ServerCredentials | None":
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    return server_credentials(
        TlsFiles(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
    )
