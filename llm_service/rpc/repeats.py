"""`request_id` on the wire: a repeated request to create something has the answer of the first."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

from google.protobuf.message import Message

from llm_service.domain.creation import Creation, Repeated
from llm_service.errors import InvalidField, Violation
from llm_service.gateway.admin.once import NOT_REPEATED, Once
from llm_service.rpc.request_ids import is_request_id

T = TypeVar("T")
R = TypeVar("R", bound=Message)

# A body may hold a secret, so its digest is made slow to guess from: some 10 ms and 4 MiB.
_SCRYPT_COST = 2**12


def check(request_id: str) -> None:
    """Refuse what is no UUID; "" says that the request will not be repeated.

    Raises:
        InvalidField: it is none.
    """
    if request_id and not is_request_id(request_id):
        raise InvalidField(Violation("request_id", "must be a UUID"))


async def answer_once(
    request: Any,
    tenant: str,
    response: type[R],
    *,
    create: Callable[[Once[T]], Awaitable[T]],
    answer: Callable[[T], R],
    keep: Callable[[T], R] | None = None,
) -> R:
    """Create something and answer; or answer as before, if the request was served before.

    Args:
        request: a message whose `request_id` was checked; with `validate_only` it is not used.
        tenant: the owner of what is created.
        response: what `answer` gives.
        create: the use case; it begins and ends its argument inside its own transaction.
        answer: the response about what `create` gives.
        keep: what a repeated request is answered with, where `answer` would hold a secret.

    Raises:
        RequestIdReused: the tenant sent another request to this method under the same id.
    """
    if not request.request_id or getattr(request, "validate_only", False):
        return answer(await create(NOT_REPEATED))
    kept = keep or answer
    method = request.DESCRIPTOR.full_name.removesuffix("Request")
    creation = await asyncio.to_thread(creation_of, request, tenant, method)
    once: Once[T] = Once(creation, lambda created: kept(created).SerializeToString())
    try:
        return answer(await create(once))
    except Repeated as repeated:
        return response.FromString(repeated.answer)


def creation_of(request: Any, tenant: str, method: str) -> Creation:
    """What tells the request from others of the tenant to that method; slow on purpose."""
    request_id = str(UUID(request.request_id))
    body = type(request)()
    body.CopyFrom(request)
    body.ClearField("request_id")
    digest = hashlib.scrypt(
        body.SerializeToString(deterministic=True),
        salt=f"{tenant}\0{method}\0{request_id}".encode(),
        n=_SCRYPT_COST,
        r=8,
        p=1,
        dklen=32,
    )
    return Creation(tenant, method, request_id, digest.hex())
