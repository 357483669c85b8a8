"""The standard health service: "" says the process lives, a service's full name that it serves."""

import asyncio
from collections.abc import Iterable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICE = "grpc.health.v1.Health"

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_TELL_SECONDS = 1.0


class Health:
    """What `grpc.health.v1.Health` answers. A provider being down is not our ill health."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = tuple(services)
        self._servicer = health.aio.HealthServicer()

    def register(self, server: grpc.aio.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def start(self) -> None:
        """Report every service as serving."""
        for name in self._services:
            await self._servicer.set(name, _SERVING)

    async def drain(self) -> None:
        """Report everything as not serving, for good, and tell the watchers."""
        # A watcher that does not read holds the servicer's lock; it must not hold up the drain.
        try:
            async with asyncio.timeout(_TELL_SECONDS):
                await self._servicer.enter_graceful_shutdown()
        except TimeoutError:
            return
