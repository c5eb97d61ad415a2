"""Meters' activity in Redis or Valkey: written so that doing it again, late or twice, changes nothing; and read back.

<prefix>:activity           sorted set: meter -> newest instant (UTC ms)
<prefix>:meter:<meter>      hash: ["metric","attribute"] -> [instant, offset, value] of the channel's newest reading
<prefix>:uplinks:<meter>    sorted set by window start: "start:count" of each window
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from meterpipe.core.activity import MeterHeard, Uplinks
from meterpipe.spec.connections import RedisConnection, WorkerConfig
from meterpipe.spec.names import names_of

SECONDS = 5.0
"""To wait for an answer, or for a connection."""
RETRIES = 3
CHUNK = 2000
"""Commands sent before answers are waited for."""

ACTIVITY_ERRORS = (redis.RedisError, OSError)
"""What a store raises that cannot do what is asked; trying again may help."""

_HEARD = """
for i = 2, #ARGV, 4 do
  local known = redis.call('HGET', KEYS[1], ARGV[i])
  local older = true
  if known then
    local was = cjson.decode(known)
    local ts, offset = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
    older = was[1] < ts or (was[1] == ts and was[2] < offset)
  end
  if older then
    redis.call('HSET', KEYS[1], ARGV[i], '[' .. ARGV[i + 1] .. ',' .. ARGV[i + 2] .. ',' .. ARGV[i + 3] .. ']')
  end
end
if tonumber(ARGV[1]) > 0 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
"""
_UPLINKS = """
for i = 3, #ARGV, 2 do
  redis.call('ZREMRANGEBYSCORE', KEYS[1], ARGV[i], ARGV[i])
  redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i] .. ':' .. ARGV[i + 1])
end
local newest = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', tonumber(newest[2]) - tonumber(ARGV[2])))
if tonumber(ARGV[1]) > 0 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
"""


@dataclass(frozen=True, slots=True)
class Channel:
    """The newest reading of a channel; `ts` in UTC ms."""

    metric: str
    attribute: str
    ts: int
    value: float


class ActivityStore:
    """The activity of one pipeline's meters. Methods raise ACTIVITY_ERRORS."""

    def __init__(self, config: WorkerConfig) -> None:
        """ValueError if the configuration names no Redis."""
        if config.redis is None:
            raise ValueError("the configuration names no Redis")
        spec = config.pipeline.spec.activity
        self._prefix = spec.redis.prefix or names_of(config.pipeline).prefix
        self._forget, self._keep_ms = spec.forget, spec.uplinks.keep * 1000
        self._redis = client_of(config.redis)
        self._heard, self._uplinks = self._redis.register_script(_HEARD), self._redis.register_script(_UPLINKS)

    def hear(self, meters: Sequence[MeterHeard]) -> None:
        """Note what was heard; what is known of a later instant stays."""
        for start in range(0, len(meters), CHUNK):
            some = meters[start : start + CHUNK]
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.zadd(self._key("activity"), {one.meter: one.ts for one in some}, gt=True)
                for one in some:
                    arguments: list[Any] = [self._forget]
                    for metric, attribute, ts, value, offset in one.channels:
                        arguments += [json.dumps([metric, attribute]), ts, offset, repr(value)]
                    self._heard(keys=[self._key("meter", one.meter)], args=arguments, client=pipe)
                pipe.execute()

    def count(self, uplinks: Iterable[Uplinks]) -> None:
        """Note final counts of windows; a count that is there already is replaced."""
        by_meter: dict[str, list[int]] = {}
        for one in uplinks:
            by_meter.setdefault(one.meter, []).extend((one.start, one.count))
        meters = list(by_meter)
        for start in range(0, len(meters), CHUNK):
            with self._redis.pipeline(transaction=False) as pipe:
                for meter in meters[start : start + CHUNK]:
                    arguments = [self._forget, self._keep_ms, *by_meter[meter]]
                    self._uplinks(keys=[self._key("uplinks", meter)], args=arguments, client=pipe)
                pipe.execute()

    def forget_before(self, newest: int) -> None:
        """Forget meters that were not heard for too long before `newest` (UTC ms)."""
        if self._forget:
            self._redis.zremrangebyscore(self._key("activity"), "-inf", f"({newest - self._forget * 1000}")

    def last_heard(self, meter: str) -> int | None:
        """The meter's newest instant, UTC ms; None if it is not known."""
        found = self._redis.zscore(self._key("activity"), meter)
        return None if found is None else int(found)

    def channels(self, meter: str) -> list[Channel]:
        """The newest reading of each of the meter's channels."""
        found = self._redis.hgetall(self._key("meter", meter))
        rows = [(*json.loads(name), *json.loads(value)) for name, value in found.items()]
        return sorted(
            (Channel(metric, attribute, ts, float(value)) for metric, attribute, ts, _, value in rows),
            key=lambda one: (one.metric, one.attribute),
        )

    def uplinks(self, meter: str, since: int | None = None, until: int | None = None) -> list[tuple[int, int]]:
        """(start in UTC ms, count) of the meter's windows that start in [since, until), in order."""
        low, high = "-inf" if since is None else since, "+inf" if until is None else f"({until}"
        found = self._redis.zrangebyscore(self._key("uplinks", meter), low, high)
        return [(int(start), int(count)) for start, count in (one.decode().split(":") for one in found)]

    def heard_until(self, until: int, limit: int | None = None) -> list[tuple[str, int]]:
        """(meter, newest instant) of those not heard after `until` (UTC ms), the longest silent first."""
        key = self._key("activity")
        found = self._redis.zrangebyscore(
            key, "-inf", until, start=0, num=-1 if limit is None else limit, withscores=True
        )
        return [(meter.decode(), int(ts)) for meter, ts in found]

    def newest(self, limit: int) -> list[tuple[str, int]]:
        """(meter, newest instant) of those heard last."""
        found = self._redis.zrange(self._key("activity"), 0, limit - 1, desc=True, withscores=True)
        return [(meter.decode(), int(ts)) for meter, ts in found]

    def size(self) -> int:
        """How many meters are known."""
        return int(self._redis.zcard(self._key("activity")))

    def close(self) -> None:
        """Leave the server."""
        self._redis.close()

    def _key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))


def client_of(connection: RedisConnection) -> Any:
    """A client; secrets are read now."""
    tls: dict[str, Any] = {"ssl": True} if connection.tls else {}
    if connection.ca_file is not None:
        tls["ssl_ca_certs"] = str(connection.ca_file)
    return redis.Redis(
        host=connection.host,
        port=connection.port,
        db=connection.db,
        username=connection.username,
        password=connection.password_file.read_text().strip() if connection.password_file else None,
        socket_timeout=SECONDS,
        socket_connect_timeout=SECONDS,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), RETRIES),
        **tls,
    )
