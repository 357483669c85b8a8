"""The gRPC server: its services, what guards them, its limits, and how it stops."""

import asyncio
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from llm_service.domain.access import Role
from llm_service.gateway.audit.log import AuditLog
from llm_service.rpc.audits import Audits
from llm_service.rpc.callers import Authenticate, Callers, Permits, anyone
from llm_service.rpc.door import Door
from llm_service.rpc.guards import Guards
from llm_service.rpc.health import Health
from llm_service.rpc.interceptors import Errors, Generation, Handler, Spans
from llm_service.rpc.policy import Unprotected, policies
from llm_service.rpc.reflection import SERVICES as REFLECTION
from llm_service.rpc.reflection import Reflection
from llm_service.telemetry import Telemetry

SETTLE_SECONDS = 10.0
"""How long calls cut off by a drain get for their `finally` blocks."""

Registration = tuple[Callable[[Any, Any], None], object]
"""A generated `add_…Servicer_to_server`, and the servicer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may take. Sizes in bytes, times in seconds."""

    receive_bytes: int = 32 * 1024 * 1024
    send_bytes: int = 32 * 1024 * 1024
    metadata_bytes: int = 16 * 1024
    handshake: float = 10.0
    min_ping_interval: float = 10.0
    streams_per_connection: int = 1000
    concurrent_calls: int | None = 4000
    connection_age: float = 1800.0
    longest_call: float = 600.0
    reuse_port: bool = False


class Serving:
    """A server with its health and its drain."""

    def __init__(
        self,
        server: grpc.aio.Server,
        standard: tuple[Health, Reflection],
        around: tuple[Spans, Door],
    ) -> None:
        self.server = server
        self._health, self._reflection = standard
        self._spans, self._door = around
        self._stop_by: float | None = None

    @property
    def grace_left(self) -> float:
        """Seconds of a drain's grace that it did not need; 0 where there was no drain."""
        if self._stop_by is None:
            return 0.0
        return max(0.0, self._stop_by - asyncio.get_running_loop().time())

    def listen(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        """Bind "host:port", by TLS if there are credentials; returns the port.

        Raises:
            RuntimeError: the address cannot be bound.
        """
        if credentials is None:
            return self.server.add_insecure_port(address)
        return self.server.add_secure_port(address, credentials)

    async def start(self) -> None:
        """Accept calls, and report every service as serving."""
        await self.server.start()
        await self._health.start()

    def report(self, service: str, *, serving: bool) -> None:
        """Say in the health service whether the service of that full name does all of its work."""
        self._health.report(service, serving=serving)

    async def drain(
        self, *, grace: float, delay: float = 0.0, hurry: asyncio.Event | None = None
    ) -> None:
        """Stop: report not serving, wait `delay`, refuse new calls, let running ones finish.

        New calls are refused as `Overloaded`; once nobody makes any, connections are told to end.
        Calls still running after `grace` seconds, or once `hurry` is set, are cancelled. Returns
        when the last call has run its `finally` blocks, which may take `SETTLE_SECONDS` more.
        """
        hurry = hurry or asyncio.Event()
        self._stop_by = asyncio.get_running_loop().time() + delay + grace
        await self._health.drain()
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait([hurried], timeout=delay)
        self._door.close()
        self._reflection.drain()
        quiet = asyncio.create_task(self._door.until_quiet())
        await asyncio.wait([quiet, hurried], return_when=asyncio.FIRST_COMPLETED)
        quiet.cancel()
        stopped = asyncio.create_task(self.server.stop(grace))
        await asyncio.wait([stopped, hurried], return_when=asyncio.FIRST_COMPLETED)
        if not hurried.cancel():  # it is done: somebody hurries
            self._stop_by = None
            await self.server.stop(0)
        await stopped
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await self._spans.until_idle()
        except TimeoutError:
            return

    async def until_signalled(self, *, grace: float, delay: float = 0.0) -> None:
        """Serve until SIGTERM or SIGINT, then drain; a second signal hurries the drain."""
        stop, hurry = asyncio.Event(), asyncio.Event()

        def signalled() -> None:
            (hurry if stop.is_set() else stop).set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signalled)
        try:
            await stop.wait()
            await self.drain(grace=grace, delay=delay, hurry=hurry)
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


def build_server(  # noqa: PLR0913 - the parts, by name
    services: Iterable[Registration],
    *,
    telemetry: Telemetry,
    limits: Limits | None = None,
    authenticate: Authenticate = anyone,
    audit: AuditLog | None = None,
    generation: Generation | None = None,
    reflection: bool = True,
) -> Serving:
    """A server with these services, health and maybe reflection, not listening yet.

    `audit` is told of administrative calls; without one they leave no trace. Answers show the
    `generation` of the configuration they were made with, if there is one.

    Raises:
        Unprotected: a method has no access policy.
    """
    limits = limits or Limits()
    registered = _Registered()
    for add, servicer in services:
        add(servicer, registered)
    health = Health(registered.names)
    health.register(registered)
    mirror = Reflection([*registered.names, *REFLECTION])
    if reflection:
        mirror.register(registered)
    roles = registered.roles()
    guards = Guards(
        Spans(telemetry, generation),
        Errors(telemetry, generation),
        Door(),
        Audits(audit, telemetry) if audit else None,
        Callers(telemetry, roles, authenticate),
        Permits(roles),
    )
    server = grpc.aio.server(
        options=_options(limits), maximum_concurrent_rpcs=limits.concurrent_calls
    )
    server.add_generic_rpc_handlers([_Served(registered.guarded(guards))])
    return Serving(server, (health, mirror), (guards.spans, guards.door))


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", limits.receive_bytes),
        ("grpc.max_send_message_length", limits.send_bytes),
        # Two different limits would refuse what lies between them at random.
        ("grpc.max_metadata_size", limits.metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes),
        ("grpc.server_handshake_timeout_ms", _milliseconds(limits.handshake)),
        (
            "grpc.http2.min_ping_interval_without_data_ms",
            _milliseconds(limits.min_ping_interval),
        ),
        ("grpc.keepalive_permit_without_calls", 1),
        # A caller whose machine died must not keep a provider's meter running.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.max_concurrent_streams", limits.streams_per_connection),
        ("grpc.max_connection_age_ms", _milliseconds(limits.connection_age)),
        # A shorter grace would cut healthy streams in the middle.
        ("grpc.max_connection_age_grace_ms", _milliseconds(limits.longest_call + 60)),
        ("grpc.so_reuseport", int(limits.reuse_port)),
    ]


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


class _Registered:
    """Stands in for a server while services register: what they add, and under which names."""

    def __init__(self) -> None:
        self.generic: list[Any] = []
        self.by_service: dict[str, Mapping[str, grpc.RpcMethodHandler[Any, Any]]] = {}

    @property
    def names(self) -> list[str]:
        return [handler.service_name() for handler in self.generic]

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None:
        self.generic.extend(handlers)

    def add_registered_method_handlers(
        self, name: str, handlers: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]"
    ) -> None:
        self.by_service[name] = handlers

    def methods(self) -> "dict[str, grpc.RpcMethodHandler[Any, Any]]":
        """Every handler by "/service/method"."""
        return {
            f"/{name}/{method}": handler
            for name in self.names
            for method, handler in self.by_service[name].items()
        }

    def guarded(self, guards: Guards) -> dict[str, Handler]:
        """The same, each within what stands around it."""
        return {method: guards.around(method, one) for method, one in self.methods().items()}

    def roles(self) -> dict[str, Role | None]:
        """Which role each method needs.

        Raises:
            Unprotected: some have no policy, or one that nothing would enforce.
        """
        methods = self.methods()
        roles = policies(methods)
        # Guards do not see into a stream of requests.
        open_ended = [m for m, one in methods.items() if one.request_streaming and roles[m]]
        if open_ended:
            raise Unprotected(f"nothing guards the request stream of {', '.join(open_ended)}")
        return roles


class _Served(grpc.GenericRpcHandler):
    """All methods of a server, found at once."""

    def __init__(self, handlers: "Mapping[str, Handler]") -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        return self._handlers.get(handler_call_details.method)
