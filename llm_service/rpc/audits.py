"""What makes every administrative call leave an audit entry, also one that is turned away."""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message

from llm_service.domain.access import Caller, Principal
from llm_service.errors import GatewayError, InvalidField, PermissionDenied
from llm_service.gateway.audit.log import ADMIN_CALL, AdminCall, AuditLog
from llm_service.rpc import names
from llm_service.rpc.interceptors import Context
from llm_service.telemetry import Telemetry

log = logging.getLogger(__name__)

NOT_AUDITED = frozenset({"llmservice.v1.CompletionService", "llmservice.v1.EmbeddingService"})
"""Services whose calls have side effects and are no administration: UsageService tells of them."""

WATCHED = frozenset(
    f"llmservice.v1.{name}Service"
    for name in ("Access", "Audit", "Config", "ProviderAdmin", "Webhook")
)
"""Services whose reads leave an entry when the caller may not have them, and else none."""

NOBODY = Principal("")
"""Who makes a call before it is authenticated."""


def is_audited(method: str) -> bool:
    """Whether "/package.Service/Method" is administration: a new one is, unless it only reads.

    What is not of this contract (health, reflection) is not.
    """
    service, _, name = method.removeprefix("/").partition("/")
    if not service.startswith("llmservice.") or service in NOT_AUDITED:
        return False
    found: MethodDescriptor = descriptor_pool.Default().FindMethodByName(f"{service}.{name}")
    return bool(found.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS)


def is_watched(method: str) -> bool:
    """Whether it reads what only administration may, so that a refusal says something."""
    return method[1:].partition("/")[0] in WATCHED and not is_audited(method)


class Audits:
    """Notes each administrative call, and writes its entry if no change has written one.

    A call that only reads has an entry if its caller may not make it.

    Stands around `Callers`, so as to see whom they turn away.
    """

    def __init__(self, audit: AuditLog, telemetry: Telemetry) -> None:
        self._audit = audit
        self._telemetry = telemetry

    def concern(self, method: str, handler: Any) -> bool:
        """Whether its calls may leave an entry; they are unary."""
        return is_audited(method) or (is_watched(method) and bool(handler.unary_unary))

    def around(
        self, method: str, request: Message, context: Context
    ) -> AbstractAsyncContextManager[object]:
        caller = Caller(NOBODY, method, context.peer() or "", self._telemetry.trace_id())
        resource = resource_of(request)
        request_id: str = getattr(request, "request_id", "")
        call = AdminCall(caller, resource, _tenant_of(resource), request_id)
        return _Audited(self, call, always=is_audited(method))

    async def ended(self, call: AdminCall) -> None:
        await self._audit.ended(call)

    async def refused(self, call: AdminCall, error: BaseException) -> None:
        try:
            await self._audit.ended(call, _reason(error))
        except GatewayError as failure:
            # The refusal stands, whether or not it could be noted.
            log.error("%s was refused and not audited: %s", call.caller.method, failure.reason)


class _Audited:
    __slots__ = ("_always", "_call", "_owner", "_token")

    def __init__(self, owner: Audits, call: AdminCall, *, always: bool) -> None:
        self._owner = owner
        self._call = call
        self._always = always

    async def __aenter__(self) -> None:
        self._token = ADMIN_CALL.set(self._call)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            ADMIN_CALL.reset(self._token)
            if not self._call.written and self._always:
                await self._owner.ended(self._call)
            return
        try:
            if self._always or isinstance(error, PermissionDenied):
                await self._owner.refused(self._call, error)
        finally:
            ADMIN_CALL.reset(self._token)


def admitted(caller: Caller) -> None:
    """Tell the administrative call, if it is one, who makes it."""
    if (call := ADMIN_CALL.get()) is not None:
        call.caller = caller


def resource_of(request: Any) -> str:
    """What a request names: a resource, the one to be created, or of a batch the parent."""
    if name := getattr(request, "name", ""):
        return str(name)
    for field in request.DESCRIPTOR.fields:
        kind = field.name.removesuffix("_id")
        if kind != field.name and hasattr(request, kind):
            new = (request.parent, _collection(kind), getattr(request, field.name))
            return "/".join(filter(None, new))
    held = [value for field, value in request.ListFields() if field.message_type is not None]
    named = (getattr(value, "name", "") for value in held)
    return str(getattr(request, "parent", "") or next(filter(None, named), ""))


def _collection(kind: str) -> str:
    first, *rest = kind.split("_")
    return first + "".join(word.capitalize() for word in rest) + "s"


def _tenant_of(resource: str) -> str:
    """Whose the resource is, as far as that is well said."""
    head, _, rest = resource.partition("/")
    if head != "tenants":
        return ""
    try:
        return names.parent_tenant(f"tenants/{rest.partition('/')[0]}")
    except InvalidField:
        return ""


def _reason(error: BaseException) -> str:
    if isinstance(error, GatewayError):
        return error.reason
    return "CANCELLED" if isinstance(error, asyncio.CancelledError) else "INTERNAL"
