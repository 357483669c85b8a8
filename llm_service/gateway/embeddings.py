"""Embeddings: one model's vectors, by whichever of its providers can make them."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

from llm_service.domain import estimates
from llm_service.domain.embedding import EmbeddingAnswer, EmbeddingRequest
from llm_service.errors import (
    GatewayError,
    ProviderProtocolError,
    RequestTooLarge,
)
from llm_service.gateway.call import EmbeddingCall, left_since
from llm_service.gateway.configuration import Configuration, View
from llm_service.gateway.health.intake import Intake, unlimited
from llm_service.gateway.rate_limits.limiter import RateLimiter
from llm_service.gateway.resolution import NO_DEFAULT, Asked, resolve
from llm_service.gateway.routing import Router, load_prices
from llm_service.gateway.targets import Target
from llm_service.gateway.upstream import Upstream
from llm_service.providers import base

INTERACTION = "embeddings"
"""What a call is for, as configurations select it, where the caller does not say."""

_FLOAT_MAX = 3.4028234663852886e38  # of 32 bits, as vectors are sent
_FLOAT_BYTES = 4
_VECTOR_BYTES = 16  # of tags and lengths around each vector, at most
_REST_BYTES = 64 * 1024  # for everything in an answer but its vectors
_AT_ONCE = 32  # vectors looked at before others get their turn; 3,072 numbers take about 0.1 ms


class Embeddings:
    """What `EmbeddingService` does.

    `most_bytes` is the largest message the service sends.
    """

    def __init__(
        self,
        configuration: Configuration,
        upstream: Upstream,
        *,
        most_bytes: int,
        router: Router | None = None,
        rate_limiter: RateLimiter | None = None,
        intake: Intake | None = None,
    ) -> None:
        self._configuration = configuration
        self._upstream = upstream
        self._router = router or Router()
        self._rate_limiter = rate_limiter or RateLimiter()
        self._most_bytes = max(most_bytes - _REST_BYTES, most_bytes // 2)
        self._intake = intake or unlimited()

    async def embed(self, request: EmbeddingRequest, seconds_left: float | None) -> EmbeddingAnswer:
        """All vectors or none. `seconds_left` until the caller's deadline, None if it set none.

        Raises:
            GatewayError: every target was tried; all attempts are in its `failure`.
        """
        came = monotonic()
        self._upstream.admit()
        tenant = request.attribution.tenant
        async with self._intake:
            with await self._rate_limiter.admit(
                tenant, lambda: estimates.embedded_tokens(request.inputs)
            ) as allowance:
                view = await self._configuration.view(tenant)
                call = await self._routed(view, request, left_since(seconds_left, came))
                call.allowance = allowance
                return await self._embed(call)

    async def _embed(self, call: EmbeddingCall) -> EmbeddingAnswer:
        request = call.request
        self._check_size(len(request.inputs), _dimensions(request, call.targets[0]))
        while (target := await call.next_target()) is not None:
            try:
                async with self._upstream.attempt(call, target) as (attempt, adapter):
                    answer = await adapter.embed(self._asked(call, target))
                    attempt.answered_by(answer)
                    await _check(answer.vectors, request)
                    self._check_size(len(answer.vectors), len(answer.vectors[0]))
                    return attempt.embedded(answer)
            except GatewayError as error:
                call.note(error)
        raise call.failure()

    async def _routed(
        self, view: View, request: EmbeddingRequest, seconds_left: float | None
    ) -> EmbeddingCall:
        who = request.attribution
        if not who.interaction:
            who = replace(who, interaction=INTERACTION)
        asked = Asked(who, request.model, routing=request.routing)
        resolution = resolve(view, asked, NO_DEFAULT)
        if resolution.matched:
            request = replace(request, routing=resolution.routing)
        upstream = self._upstream
        call = EmbeddingCall(
            request, seconds_left, upstream.limits.total, resolution, upstream.retries
        )
        await load_prices(view, resolution.routing)
        call.take(self._router.embedding_targets(view, resolution, call))
        return call

    def _asked(self, call: EmbeddingCall, target: Target) -> base.EmbeddingsCall:
        request, known = call.request, target.model.embedding
        return base.EmbeddingsCall(
            request.inputs,
            target.model.provider_model,
            self._upstream.deadlines(call, target),
            request.dimensions,
            request.task,
            request.truncate,
            known.max_inputs if known else 0,
        )

    def _check_size(self, vectors: int, dimensions: int) -> None:
        """Refuse what could not be sent back."""
        if vectors * (dimensions * _FLOAT_BYTES + _VECTOR_BYTES) > self._most_bytes:
            raise RequestTooLarge(
                f"inputs: {vectors} vectors of {dimensions} numbers do not fit into one answer",
                metadata={"limitBytes": str(self._most_bytes)},
            )


def _dimensions(request: EmbeddingRequest, target: Target) -> int:
    """How long a vector will be; 0: unknown."""
    known = target.model.embedding
    return request.dimensions or (known.dimensions if known else 0)


async def _check(vectors: Sequence[Sequence[float]], request: EmbeddingRequest) -> None:
    """Whatever is odd about vectors would silently spoil an index."""
    if len(vectors) != len(request.inputs):
        raise ProviderProtocolError(
            f"the provider gave {len(vectors)} vectors for {len(request.inputs)} inputs"
        )
    length = request.dimensions or len(vectors[0])
    for number, vector in enumerate(vectors):
        if not vector or len(vector) != length:
            raise ProviderProtocolError(
                f"the provider gave a vector of {len(vector)} numbers instead of {length}"
            )
        # NaN and the infinities survive a sum.
        if not math.isfinite(sum(vector)) or max(vector) > _FLOAT_MAX or min(vector) < -_FLOAT_MAX:
            raise ProviderProtocolError("the provider gave a vector with numbers that are none")
        if number % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)
