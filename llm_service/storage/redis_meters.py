"""Meters that all replicas share, in Redis or Valkey: the only module that knows its client.

Each limit is one key: a hash of the slices of its window, or for what is in progress a sorted set
of holds by the time their lease ends, so that those of a dead replica end by themselves. Time is
the server's, and a script meets all demands together or none. It is no cluster client: behind the
address is one server, or a proxy.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_service.domain.rate_limits import SPANS, TOKENS, Demand, Hold, Metric, Refusal
from llm_service.errors import StorageUnavailable

if TYPE_CHECKING:
    from redis.asyncio import Redis

LEASE_SECONDS = 30
"""How long a hold counts that its replica does not renew."""

_PREFIX = "llm-service:limits:"
_CONNECTIONS = 32
_AT_ONCE = 500  # holds renewed by one script, which others wait for

_TAKE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local hold, lease = ARGV[1], tonumber(ARGV[2])
local refused, wait = 0, -2
for i, key in ipairs(KEYS) do
  local length, slice = tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i])
  local limit, amount = tonumber(ARGV[4 * i + 1]), tonumber(ARGV[4 * i + 2])
  if length == 0 then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    if redis.call('ZCARD', key) + amount > limit and wait < -1 then refused, wait = i, -1 end
  else
    local oldest = math.floor(now / slice) - length / slice
    local stored = redis.call('HGETALL', key)
    local used, slices, kept = 0, {}, {}
    for j = 1, #stored, 2 do
      local at = tonumber(stored[j])
      if at < oldest then
        redis.call('HDEL', key, stored[j])
      else
        used = used + tonumber(stored[j + 1])
        slices[#slices + 1], kept[at] = at, tonumber(stored[j + 1])
      end
    end
    if used + amount > limit then
      table.sort(slices)
      for _, at in ipairs(slices) do
        used = used - kept[at]
        if used + amount <= limit then
          local seconds = (at + length / slice + 1) * slice - now
          if seconds > wait then refused, wait = i, seconds end
          break
        end
      end
    end
  end
end
if refused > 0 then return {refused, tostring(wait)} end
for i, key in ipairs(KEYS) do
  local length, slice = tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i])
  if length == 0 then
    redis.call('ZADD', key, now + lease, hold)
    redis.call('EXPIRE', key, 2 * lease)
  else
    redis.call('HINCRBY', key, string.format('%.0f', math.floor(now / slice)), ARGV[4 * i + 2])
    redis.call('EXPIRE', key, length + 2 * slice)
  end
end
return {0, string.format('%.6f', now)}
"""

_SETTLE = """
local time = redis.call('TIME')
local now = tonumber(time[1])
local hold, at = ARGV[1], tonumber(ARGV[2])
for i, key in ipairs(KEYS) do
  local length, slice = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
  local more = tonumber(ARGV[3 * i + 2])
  if length == 0 then
    redis.call('ZREM', key, hold)
  elseif more < 0 then
    local field = string.format('%.0f', math.floor(at / slice))
    if redis.call('HEXISTS', key, field) == 1 then redis.call('HINCRBY', key, field, more) end
  else
    redis.call('HINCRBY', key, string.format('%.0f', math.floor(now / slice)), more)
    redis.call('EXPIRE', key, length + 2 * slice)
  end
end
"""

_RENEW = """
local now, lease = tonumber(redis.call('TIME')[1]), tonumber(ARGV[1])
for i, key in ipairs(KEYS) do
  redis.call('ZADD', key, now + lease, ARGV[i + 1])
  redis.call('EXPIRE', key, 2 * lease)
end
"""


@dataclass(frozen=True, slots=True)
class Settlement:
    """A hold that has ended, and the tokens it used; None: that it was taken is not sure."""

    hold: Hold
    tokens: int | None


class RedisMeters:
    """Every method raises `StorageUnavailable` when the server does not do as asked.

    None is bounded in time: whoever waits for one says how long.
    """

    def __init__(self, client: "Redis") -> None:
        self._client = client
        self._take = client.register_script(_TAKE)
        self._settle = client.register_script(_SETTLE)
        self._renew = client.register_script(_RENEW)

    @classmethod
    def at(cls, url: str) -> "RedisMeters":
        """Of the server at `url`; dials it when first used."""
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            # Once: a server that was restarted has closed the connections it had.
            retry=Retry(NoBackoff(), 1),
            socket_connect_timeout=2,
            socket_timeout=2,
        )
        return cls(Redis(connection_pool=pool))

    async def prepare(self) -> None:
        """Dial, and have the scripts there before a call needs them."""
        for script in (self._take, self._settle, self._renew):
            await _done(self._client.script_load(script.script))

    async def take(self, hold: Hold) -> Refusal | None:
        """Charge all that `hold` demands, if there is room for all of it."""
        args: list[str | int | float] = [hold.id, LEASE_SECONDS]
        for demand in hold.demands:
            args += [*_span(demand), demand.limit, demand.amount]
        number, told = await _done(self._take(keys=_keys(hold.demands), args=args))
        if number == 0:
            hold.shared_at = float(told)
            return None
        seconds = float(told)
        return Refusal(hold.demands[number - 1], None if seconds < 0 else seconds)

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Correct what was charged, and end what is in progress."""
        async with self._client.pipeline(transaction=False) as pipe:
            for one in settlements:
                demands = [d for d in one.hold.demands if _more(d, one) is not None]
                args: list[str | int | float] = [one.hold.id, one.hold.shared_at or 0]
                for demand in demands:
                    args += [*_span(demand), _more(demand, one) or 0]
                if demands:
                    await self._settle(keys=_keys(demands), args=args, client=pipe)
            await _done(pipe.execute())

    async def renew(self, holds: Iterable[Hold]) -> None:
        """Have what is in progress count for another lease."""
        held = [
            (key, hold.id)
            for hold in holds
            for key in _keys(d for d in hold.demands if d.metric is Metric.CONCURRENT_REQUESTS)
        ]
        for start in range(0, len(held), _AT_ONCE):
            some = held[start : start + _AT_ONCE]
            args: list[str | int] = [LEASE_SECONDS, *(hold_id for _, hold_id in some)]
            await _done(self._renew(keys=[key for key, _ in some], args=args))

    async def aclose(self) -> None:
        await self._client.connection_pool.disconnect(inuse_connections=True)


async def _done(asked: Any) -> Any:  # noqa: ANN401 - what a script returns
    from redis.exceptions import RedisError

    try:
        answer = await asked
    except (RedisError, OSError) as error:
        raise StorageUnavailable("the server of shared rate limits does not answer") from error
    if (task := asyncio.current_task()) is not None and task.cancelling():
        # The client's asyncio.wait_for loses a cancellation that comes with its answer.
        raise asyncio.CancelledError
    return answer


def _keys(demands: Iterable[Demand]) -> list[str]:
    return [f"{_PREFIX}{demand.subject}:{demand.metric}" for demand in demands]


def _span(demand: Demand) -> tuple[int, int]:
    """Zeros: it is over no time."""
    span = SPANS.get(demand.metric)
    return (span.length, span.slice) if span else (0, 0)


def _more(demand: Demand, settlement: Settlement) -> int | None:
    """What is charged besides; None: nothing is to be done."""
    if demand.metric is Metric.CONCURRENT_REQUESTS:
        return 0
    if demand.metric not in TOKENS or settlement.tokens is None:
        return None
    return (settlement.tokens - demand.amount) or None
