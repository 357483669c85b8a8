"""The composition root: what this process is made of, and in which order it stops."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import metadata
from typing import TYPE_CHECKING

from llm_service.errors import GatewayError, StorageUnavailable
from llm_service.gateway import pricing
from llm_service.gateway.admin import seeds
from llm_service.gateway.admin.checks import Checks
from llm_service.gateway.admin.credentials import Credentials
from llm_service.gateway.admin.models import Models
from llm_service.gateway.admin.providers import Providers
from llm_service.gateway.admin.secrets import Secrets
from llm_service.gateway.completions import Completions
from llm_service.gateway.configuration import SHARED, Configuration
from llm_service.gateway.embeddings import Embeddings
from llm_service.gateway.ledger import QueuedLedger
from llm_service.gateway.manager import ProviderManager
from llm_service.gateway.model_catalogue import ModelCatalogue
from llm_service.gateway.upstream import CallLimits, Upstream
from llm_service.gateway.usage_reports import UsageReports
from llm_service.gateway.verdicts import Verdicts
from llm_service.providers.egress import Egress
from llm_service.rpc.completion import CompletionServicer
from llm_service.rpc.embedding import EmbeddingServicer
from llm_service.rpc.model import ModelServicer
from llm_service.rpc.provider_admin import Administration, ProviderAdminServicer
from llm_service.rpc.server import Limits, Registration, Serving, build_server
from llm_service.rpc.stubs import (
    completion_service_pb2_grpc,
    embedding_service_pb2_grpc,
    model_service_pb2_grpc,
    provider_admin_service_pb2_grpc,
    usage_service_pb2_grpc,
)
from llm_service.rpc.tls import TlsFiles, UnusableTls, server_credentials
from llm_service.rpc.usage import UsageServicer
from llm_service.settings import Settings
from llm_service.storage import migrations
from llm_service.storage.database import Database
from llm_service.telemetry import Telemetry, logs
from llm_service.vault import BadKeyring, Keyring, Vault, load_or_create_key_file

if TYPE_CHECKING:
    from grpc import ServerCredentials

logger = logging.getLogger(__name__)

Announce = Callable[[str, list[str]], None]
"""Told once when the service is up: "host:port", and what an operator should know."""

_FLUSH_SECONDS = 10.0
_KEY_FILE = "vault.key"
_MIGRATE = "import sys, llm_service.storage.migrations as m; m.upgrade(sys.stdin.read())"
# Calls already running when the limit is reached must still find room to report and administer.
_SPARE_CALLS = 1.1


class CannotStart(Exception):
    """Why there is no service, in one line for the operator."""


async def serve(settings: Settings, announce: Announce) -> None:
    """Serve until a signal, then drain.

    Raises:
        CannotStart: something an operator must mend first.
    """
    logs.set_up(level=settings.log_level, as_json=settings.log_format == "json")
    async with application(settings) as (serving, notes):
        address = _listen(serving, settings)
        await serving.start()
        announce(address, notes)
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
        fresh = await _prepare_schema(settings, notes)
        database = await stack.enter_async_context(Database.open(settings.database_url))
        vault = await _vault(settings, database, notes)
        telemetry = _telemetry(settings)
        stack.push_async_callback(telemetry.shutdown)
        egress = Egress(settings.egress_allow, ca_file=str(settings.egress_ca_file or ""))
        stack.push_async_callback(egress.aclose)
        administration = _administration(settings, database, vault, egress)
        if fresh:
            await seeds.plant(administration.providers, settings.credential_environment)
        manager = _manager(settings, vault, egress)
        stack.push_async_callback(manager.aclose)
        ledger = QueuedLedger(database)
        telemetry.observe_backlog(lambda: ledger.backlog)
        stack.push_async_callback(_flush, ledger)
        configuration = Configuration(database)
        await _load(configuration)
        database.after_change(configuration.refresh)
        following = configuration.follow(settings.config_poll_seconds)
        verdicts = Verdicts(database)
        background = _running(
            ledger.run(), verdicts.run(), following, manager.sweep(), telemetry.watch_loop()
        )
        await stack.enter_async_context(background)
        upstream = Upstream(manager, ledger, telemetry, verdicts, _call_limits(settings))
        services = _services(
            Completions(configuration, upstream, default_model=settings.default_model),
            Embeddings(configuration, upstream, most_bytes=settings.max_message_bytes),
            administration,
            ModelCatalogue(database),
            UsageReports(database, ledger.flush),
        )
        yield build_server(services, telemetry=telemetry, limits=_limits(settings)), notes


def migrate(settings: Settings) -> str:
    """Bring the schema up to date; returns its revision. Blocks.

    Raises:
        CannotStart: the database does not answer, or is newer than this release.
    """
    _make_folder(settings)
    try:
        migrations.upgrade(settings.database_url)
    except (migrations.SchemaError, StorageUnavailable) as error:
        raise CannotStart(str(error)) from error
    return migrations.head()


async def seed(settings: Settings) -> list[str]:
    """Create the first providers if they are not there; says what it did, line by line.

    Raises:
        CannotStart: something an operator must mend first.
    """
    notes: list[str] = []
    await _prepare_schema(settings, notes)
    async with Database.open(settings.database_url) as database:
        vault = await _vault(settings, database, notes)
        egress = Egress(settings.egress_allow)
        providers = _administration(settings, database, vault, egress).providers
        lines = await seeds.plant(providers, settings.credential_environment)
    return [*notes, *lines]


async def _prepare_schema(settings: Settings, notes: list[str]) -> bool:
    """Check the schema; the embedded database is migrated on the way. True: it was just made."""
    _make_folder(settings)
    async with Database.open(settings.database_url) as database:
        try:
            await database.check_schema()
        except migrations.SchemaOutdated as error:
            if not settings.embedded:
                raise CannotStart(str(error)) from error
            made = isinstance(error, migrations.SchemaMissing)
        except (migrations.SchemaError, StorageUnavailable) as error:
            raise CannotStart(str(error)) from error
        else:
            return False
    await asyncio.to_thread(_migrate_apart, settings)
    done = "prepared" if made else "upgraded"
    notes.append(f"{done} the embedded database in {settings.data_dir}")
    return made


def _migrate_apart(settings: Settings) -> None:
    """Migrate in a process of its own: the migration tool would stay in a server's memory."""
    done = subprocess.run(  # noqa: S603 - our own code; the URL, which may hold a password, is piped
        [sys.executable, "-c", _MIGRATE],
        input=settings.database_url,
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise CannotStart("the embedded database could not be prepared: run llm-service migrate")


def _make_folder(settings: Settings) -> None:
    if not settings.database_url.is_sqlite:
        return
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CannotStart(
            f"cannot make the folder {settings.data_dir}: {error.strerror}"
        ) from error


async def _vault(settings: Settings, database: Database, notes: list[str]) -> Vault:
    try:
        keyring = await asyncio.to_thread(_keyring, settings, notes)
        deployment = await database.deployment_id()
    except (BadKeyring, StorageUnavailable) as error:
        raise CannotStart(str(error)) from error
    except OSError as error:
        raise CannotStart(f"cannot read the key ring {error.filename}: {error.strerror}") from error
    if keyring is None:
        notes.append("no encryption key is set: credentials can be neither stored nor used")
    return Vault(keyring, deployment)


def _keyring(settings: Settings, notes: list[str]) -> Keyring | None:
    if settings.keyring_file is not None:
        return Keyring.from_text(settings.keyring_file.read_bytes().decode("ascii", "replace"))
    if settings.encryption_key:
        return Keyring.from_text(settings.encryption_key)
    if not settings.embedded:
        return None
    path = settings.data_dir / _KEY_FILE
    keyring, made = load_or_create_key_file(path)
    if made:
        notes.append(f"made an encryption key in {path}: keep a copy, or stored keys are lost")
    return keyring


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


def _manager(settings: Settings, vault: Vault, egress: Egress) -> ProviderManager:
    return ProviderManager(
        vault,
        egress,
        settings.credential_environment,
        workload_identity=settings.allow_workload_identity,
    )


def _administration(
    settings: Settings, database: Database, vault: Vault, egress: Egress
) -> Administration:
    lent = settings.allow_workload_identity
    secrets = Secrets(vault, settings.credential_env_allow, workload_identity=lent)
    return Administration(
        Providers(database, secrets, egress),
        Credentials(database, secrets),
        Models(database),
        Checks(database, vault, egress, settings.credential_environment, workload_identity=lent),
    )


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


def _services(
    completions: Completions,
    embeddings: Embeddings,
    administration: Administration,
    models: ModelCatalogue,
    usage: UsageReports,
) -> list[Registration]:
    return [
        (
            completion_service_pb2_grpc.add_CompletionServiceServicer_to_server,
            CompletionServicer(completions),
        ),
        (
            embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server,
            EmbeddingServicer(embeddings),
        ),
        (
            provider_admin_service_pb2_grpc.add_ProviderAdminServiceServicer_to_server,
            ProviderAdminServicer(administration),
        ),
        (model_service_pb2_grpc.add_ModelServiceServicer_to_server, ModelServicer(models)),
        (usage_service_pb2_grpc.add_UsageServiceServicer_to_server, UsageServicer(usage)),
    ]


def _call_limits(settings: Settings) -> CallLimits:
    return CallLimits(
        settings.max_call_seconds,
        settings.connect_timeout_seconds,
        settings.first_token_timeout_seconds,
        settings.idle_timeout_seconds,
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        receive_bytes=settings.max_message_bytes,
        send_bytes=settings.max_message_bytes,
        streams_per_connection=settings.max_concurrent_calls,
        concurrent_calls=int(settings.max_concurrent_calls * _SPARE_CALLS),
        longest_call=settings.max_call_seconds,
    )


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
