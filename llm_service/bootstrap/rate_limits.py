"""Rate limits: what the settings say of tenants, and where all of them are counted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from llm_service.domain.provider import RateLimits
from llm_service.gateway.rate_limits.limiter import RateLimiter
from llm_service.gateway.rate_limits.shared import SharedMeters
from llm_service.gateway.rate_limits.windows import LocalMeters
from llm_service.settings import Settings
from llm_service.telemetry import Telemetry


@asynccontextmanager
async def rate_limiter(settings: Settings, telemetry: Telemetry) -> AsyncIterator[RateLimiter]:
    """Counts in memory, or in Redis if there is one; it need not answer, now or later."""
    tenant_limits = _of_tenants(settings)
    if settings.redis_url is None:
        yield RateLimiter(LocalMeters(), tenant_limits, telemetry.rate_limited)
        return
    from llm_service.storage.redis_meters import RedisMeters

    redis = RedisMeters.at(settings.redis_url)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        meters = SharedMeters(redis, LocalMeters())
        telemetry.observe_shared_limits(lambda: meters.away)
        telling = asyncio.create_task(meters.run())
        stack.push_async_callback(_stop, telling)
        yield RateLimiter(meters, tenant_limits, telemetry.rate_limited)
        await meters.flush()


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _of_tenants(settings: Settings) -> RateLimits:
    return RateLimits(
        settings.rate_limit_per_minute,
        settings.rate_limit_tokens_per_minute,
        settings.rate_limit_per_day,
        settings.rate_limit_concurrent,
        settings.rate_limit_tokens_per_day,
    )
