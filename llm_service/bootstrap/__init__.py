"""The composition root: what this process is made of, and in which order it stops."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from llm_service.bootstrap import parts, snapshots
from llm_service.bootstrap.access import access_of, client_keys, first_key
from llm_service.bootstrap.foundation import Foundation, open_foundation
from llm_service.bootstrap.keys import key_rings, vault_of
from llm_service.bootstrap.ledger import ledger_of
from llm_service.bootstrap.schema import migrate, prepare_schema
from llm_service.bootstrap.services import services
from llm_service.bootstrap.trouble import CannotStart
from llm_service.errors import GatewayError
from llm_service.gateway import pricing
from llm_service.gateway.admin.model_configs import ModelConfigs
from llm_service.gateway.admin.upkeep import Upkeep
from llm_service.gateway.admin.usage_upkeep import UsageUpkeep
from llm_service.gateway.completions import Completions
from llm_service.gateway.configuration import SHARED, Configuration
from llm_service.gateway.embeddings import Embeddings
from llm_service.gateway.explanations import Explanations
from llm_service.gateway.model_catalogue import ModelCatalogue
from llm_service.gateway.upstream import Upstream
from llm_service.gateway.usage_reports import UsageReports
from llm_service.gateway.verdicts import Verdicts
from llm_service.providers.egress import Egress
from llm_service.rpc.access import AccessServicer
from llm_service.rpc.audit import AuditServicer
from llm_service.rpc.callers import Authenticate
from llm_service.rpc.completion import CompletionServicer
from llm_service.rpc.config import ConfigServicer
from llm_service.rpc.embedding import EmbeddingServicer
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
        following = configuration.follow(settings.config_poll_seconds, access.known.refresh)
        verdicts = Verdicts(database)
        work = [*keeping, verdicts.run(), following, base.manager.sweep(), Upkeep(database).run()]
        work.append(UsageUpkeep(database, settings.usage_retention_months).run())
        deployment = base.start.deployment
        if keeper := await snapshots.keeper(settings, configuration, access.known, deployment):
            stack.push_async_callback(keeper.write)
            work.append(keeper.run())
        work += [telemetry.watch_loop(), base.audit.run()]
        await stack.enter_async_context(_running(*work))
        upstream = Upstream(base.manager, ledger, telemetry, verdicts, parts.call_limits(settings))
        servicers = _servicers(settings, base, configuration, upstream, ledger.flush)
        servicers += (AccessServicer(access.keys),)
        serving = _server(services(servicers), settings, base, configuration, access.authenticate)
        rings = key_rings(settings, base.vault, database, configuration, serving, base.audit)
        await stack.enter_async_context(_running(rings.follow(settings.config_poll_seconds)))
        yield serving, notes


def _servicers(
    settings: Settings,
    base: Foundation,
    configuration: Configuration,
    upstream: Upstream,
    flush: Callable[[], Awaitable[None]],
) -> tuple[object, ...]:
    default_model = parts.default_model(settings)
    completions = Completions(configuration, upstream, default_model=default_model)
    embeddings = Embeddings(configuration, upstream, most_bytes=settings.max_message_bytes)
    explanations = Explanations(configuration, default_model)
    return (
        CompletionServicer(completions),
        EmbeddingServicer(embeddings),
        ProviderAdminServicer(base.administration),
        ModelServicer(ModelCatalogue(base.database)),
        ConfigServicer(ModelConfigs(base.database), explanations),
        UsageServicer(UsageReports(base.database, flush)),
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
