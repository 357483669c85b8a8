"""The composition root: what this process is made of, and in which order it stops."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import metadata
from typing import TYPE_CHECKING

from llm_service.bootstrap import parts
from llm_service.bootstrap.access import access_of, client_keys, first_key
from llm_service.bootstrap.keys import vault_of
from llm_service.bootstrap.schema import migrate, prepare_schema
from llm_service.bootstrap.services import services
from llm_service.bootstrap.trouble import CannotStart
from llm_service.errors import GatewayError
from llm_service.gateway import pricing
from llm_service.gateway.admin import seeds
from llm_service.gateway.completions import Completions
from llm_service.gateway.configuration import SHARED, Configuration
from llm_service.gateway.embeddings import Embeddings
from llm_service.gateway.ledger import QueuedLedger
from llm_service.gateway.model_catalogue import ModelCatalogue
from llm_service.gateway.upstream import Upstream
from llm_service.gateway.usage_reports import UsageReports
from llm_service.gateway.verdicts import Verdicts
from llm_service.providers.egress import Egress
from llm_service.rpc.callers import Authenticate
from llm_service.rpc.policy import Unprotected
from llm_service.rpc.server import Registration, Serving, build_server
from llm_service.rpc.tls import TlsFiles, UnusableTls, server_credentials
from llm_service.settings import Settings
from llm_service.storage.database import Database
from llm_service.telemetry import Telemetry, logs

if TYPE_CHECKING:
    from grpc import ServerCredentials

__all__ = ["Announce", "CannotStart", "application", "client_keys", "migrate", "seed", "serve"]

logger = logging.getLogger(__name__)

Announce = Callable[[str, list[str]], None]
"""Told once when the service is up: "host:port", and what an operator should know."""

_FLUSH_SECONDS = 10.0


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
        fresh = await prepare_schema(settings, notes)
        database = await stack.enter_async_context(Database.open(settings.database_url))
        vault = await vault_of(settings, database, notes)
        telemetry = _telemetry(settings)
        stack.push_async_callback(telemetry.shutdown)
        egress = Egress(settings.egress_allow, ca_file=str(settings.egress_ca_file or ""))
        stack.push_async_callback(egress.aclose)
        administration = parts.administration(settings, database, vault, egress)
        if fresh:
            await seeds.plant(administration.providers, settings.credential_environment)
        access = await access_of(settings, database, vault, egress, notes)
        manager = parts.manager(settings, vault, egress)
        stack.push_async_callback(manager.aclose)
        ledger = QueuedLedger(database)
        telemetry.observe_backlog(lambda: ledger.backlog)
        stack.push_async_callback(_flush, ledger)
        configuration = Configuration(database)
        await _load(configuration)
        database.after_change(configuration.refresh)
        database.after_change(access.known.refresh)
        following = configuration.follow(settings.config_poll_seconds, access.known.refresh)
        verdicts = Verdicts(database)
        background = _running(
            ledger.run(), verdicts.run(), following, manager.sweep(), telemetry.watch_loop()
        )
        await stack.enter_async_context(background)
        upstream = Upstream(manager, ledger, telemetry, verdicts, parts.call_limits(settings))
        registered = services(
            Completions(configuration, upstream, default_model=settings.default_model),
            Embeddings(configuration, upstream, most_bytes=settings.max_message_bytes),
            administration,
            ModelCatalogue(database),
            UsageReports(database, ledger.flush),
            access.keys,
        )
        yield _server(registered, settings, telemetry, access.authenticate), notes


async def seed(settings: Settings) -> list[str]:
    """Create the first providers if they are not there; says what it did, line by line.

    Raises:
        CannotStart: something an operator must mend first.
    """
    notes: list[str] = []
    await prepare_schema(settings, notes)
    async with Database.open(settings.database_url) as database:
        vault = await vault_of(settings, database, notes)
        egress = Egress(settings.egress_allow)
        providers = parts.administration(settings, database, vault, egress).providers
        lines = await seeds.plant(providers, settings.credential_environment)
    return [*notes, *lines]


def _server(
    registered: list[Registration],
    settings: Settings,
    telemetry: Telemetry,
    authenticate: Authenticate,
) -> Serving:
    try:
        return build_server(
            registered,
            telemetry=telemetry,
            limits=parts.limits(settings),
            authenticate=authenticate,
            reflection=settings.reflection,
        )
    except Unprotected as error:
        raise CannotStart(str(error)) from error


def _telemetry(settings: Settings) -> Telemetry:
    listen = settings.prometheus_listen
    try:
        return Telemetry.start(
            service_version=metadata.version("llm-service"),
            otlp_endpoint=settings.otlp_endpoint,
            sample_ratio=settings.trace_sample_ratio,
            prometheus_listen=str(listen) if listen else "",
            environment=settings.deployment_environment,
        )
    except OSError as error:
        raise CannotStart(f"cannot serve metrics on {listen}: {error.strerror}") from error


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


async def _flush(ledger: QueuedLedger) -> None:
    try:
        async with asyncio.timeout(_FLUSH_SECONDS):
            await ledger.flush()
    except Exception:  # the rest of the shutdown must go on
        logger.critical("usage records were not stored: %d", ledger.backlog, exc_info=True)


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
