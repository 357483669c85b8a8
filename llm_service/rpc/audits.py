"""What makes every administrative call leave an audit entry, also one that is turned away."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message

from llm_service.domain.access import CALLER, Caller, Principal
from llm_service.errors import GatewayError, InvalidField, PermissionDenied
from llm_service.gateway.audit.log import ADMIN_CALL, AdminCall, AuditLog
from llm_service.rpc import names
from llm_service.rpc.interceptors import Around, Context, Handler
from llm_service.telemetry import Telemetry

log = logging.getLogger(__name__)

Behave = Callable[[Any, Context], Awaitable[Any]]

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


class _OfAdministration(Around):
    """Wraps administrative calls, which are unary, and leaves all others as they are."""

    def _wrap(self, method: str, handler: Any) -> Handler:
        concerned = is_audited(method) or (is_watched(method) and handler.unary_unary)
        if not concerned:
            untouched: Handler = handler
            return untouched

        async def served(request: Message, context: Context) -> Any:
            return await self._serve(method, handler.unary_unary, request, context)

        made: Handler = grpc.unary_unary_rpc_method_handler(
            served, handler.request_deserializer, handler.response_serializer
        )
        return made

    async def _serve(self, method: str, behave: Behave, request: Message, context: Context) -> Any:
        raise NotImplementedError


class Audits(_OfAdministration):
    """Notes each administrative call, and writes its entry if no change has written one.

    A call that only reads has an entry if its caller may not make it.

    Stands around `Callers`, so as to see whom they turn away.
    """

    def __init__(self, audit: AuditLog, telemetry: Telemetry) -> None:
        super().__init__()
        self._audit = audit
        self._telemetry = telemetry

    async def _serve(self, method: str, behave: Behave, request: Message, context: Context) -> Any:
        call = self._call(method, request, context)
        token = ADMIN_CALL.set(call)
        try:
            answer = await behave(request, context)
        except BaseException as error:
            if is_audited(method) or isinstance(error, PermissionDenied):
                await self._refused(call, error)
            raise
        finally:
            ADMIN_CALL.reset(token)
        if not call.written and is_audited(method):
            await self._audit.ended(call)
        return answer

    def _call(self, method: str, request: Message, context: Context) -> AdminCall:
        caller = Caller(NOBODY, method, context.peer() or "", self._telemetry.trace_id())
        resource = resource_of(request)
        request_id: str = getattr(request, "request_id", "")
        return AdminCall(caller, resource, _tenant_of(resource), request_id)

    async def _refused(self, call: AdminCall, error: BaseException) -> None:
        try:
            await self._audit.ended(call, _reason(error))
        except GatewayError as failure:
            # The refusal stands, whether or not it could be noted.
            log.error("%s was refused and not audited: %s", call.caller.method, failure.reason)


class Admitted(_OfAdministration):
    """Tells an administrative call who makes it. Stands within `Callers`."""

    async def _serve(self, method: str, behave: Behave, request: Message, context: Context) -> Any:
        if (call := ADMIN_CALL.get()) is not None:
            call.caller = CALLER.get()
        return await behave(request, context)


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
