"""The standard health service: "" says the process lives, a service's full name that it serves."""

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """What `grpc.health.v1.Health` answers. A provider being down is not our ill health.

    The stock servicer's watches never end, and so hold up a drain for the whole of its grace.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = tuple(services)
        self._states = {"": _SERVING}
        self._changed = asyncio.Event()
        self._draining = False
        self._ailing: set[str] = set()

    def register(self, server: Any) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    async def start(self) -> None:
        """Report every service as serving."""
        self._set(_SERVING)

    def report(self, service: str, *, serving: bool) -> None:
        """Say of one service whether it does all of its work; the others stay as they are."""
        if serving is (service not in self._ailing):
            return
        (self._ailing.discard if serving else self._ailing.add)(service)
        if not self._draining:
            self._set(_SERVING)

    async def drain(self) -> None:
        """Report everything as not serving, for good; watchers are told, and their calls end."""
        self._draining = True
        self._set(_NOT_SERVING)

    async def Check(self, request: Any, context: Any) -> Any:
        state = self._states.get(request.service)
        if state is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no service of that name is served here")
        return health_pb2.HealthCheckResponse(status=state)

    async def List(self, request: Any, context: Any) -> Any:
        statuses = {
            name: health_pb2.HealthCheckResponse(status=state)
            for name, state in self._states.items()
        }
        return health_pb2.HealthListResponse(statuses=statuses)

    async def Watch(self, request: Any, context: Any) -> None:
        told = None
        while True:
            changed = self._changed
            state = self._states.get(request.service, _UNKNOWN)
            if state != told:
                await context.write(health_pb2.HealthCheckResponse(status=state))
                told = state
            if self._draining and changed is self._changed:
                return
            await changed.wait()

    def _set(self, state: int) -> None:
        self._states.update(dict.fromkeys(("", *self._services), state))
        self._states.update(dict.fromkeys(self._ailing, _NOT_SERVING))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
