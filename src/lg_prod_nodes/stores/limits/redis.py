"""Windows in Redis or Valkey, in the layout of `limits`, so that other users of that library share them."""

from __future__ import annotations

import re
from typing import Any

from limits.errors import ConfigurationError as LimitsConfigurationError
from limits.storage import RedisStorage, storage_from_string

from lg_prod_nodes.core.errors import ConfigurationError, StoreUnavailable
from lg_prod_nodes.core.secret import Secret, bare, revealed, scheme_of
from lg_prod_nodes.databases.silence import forget_idle
from lg_prod_nodes.stores.limits.windows import (
    Decision,
    Limit,
    Limits,
    Strategy,
    read_window,
)

_SCRIPT = """
local strategy, cost, forced = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local since, remember = tonumber(ARGV[4]) + 0.005, tonumber(ARGV[5])  -- times to live are rounded
local clock = redis.call('time')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6

local function seconds_left(key)
    return math.max(redis.call('pttl', key), 0) / 1000
end

local function count(key)
    return tonumber(redis.call('get', key) or 0)
end

local function put(key, amount, seconds)
    redis.call('set', key, amount, 'PX', math.ceil(seconds * 1000))
end

local function clear(key, other)  -- `limits` gives the windows of two strategies one name
    if redis.call('type', key).ok == other then redis.call('del', key) end
end

local windows = {}

windows['fixed-window'] = {
    read = function(w)
        clear(w.key, 'list')
        return {count(w.key), seconds_left(w.key), seconds_left(w.key)}
    end,
    take = function(w)
        if cost > 0 then
            if redis.call('incrby', w.key, cost) == cost then
                redis.call('expire', w.key, w.seconds)
            end
        elseif seconds_left(w.key) > 0 and since >= now + seconds_left(w.key) - w.seconds then
            redis.call('decrby', w.key, math.min(-cost, count(w.key)))
        end
    end,
}

local function entry(w, index)
    return tonumber(redis.call('lindex', w.key, index))
end

local function alive(w)  -- how many entries are in the window, the newest being the first of the list
    local low, high = 0, math.min(redis.call('llen', w.key), w.quota)
    while low < high do
        local middle = math.floor((low + high) / 2)
        if entry(w, middle) >= now - w.seconds then low = middle + 1 else high = middle end
    end
    return low
end

windows['moving-window'] = {
    read = function(w)
        clear(w.key, 'string')
        local used, reset, wait = alive(w), 0, 0
        if used > 0 then reset = entry(w, used - 1) + w.seconds - now end
        if cost > 0 and cost <= w.quota and used + cost > w.quota then
            wait = entry(w, w.quota - cost) + w.seconds - now
        end
        return {used, reset, wait}
    end,
    take = function(w)
        if cost < 0 then
            if since < now - w.seconds then return end
            local kept = alive(w) + cost
            if kept > 0 then redis.call('ltrim', w.key, 0, kept - 1) else redis.call('del', w.key) end
            return
        end
        local at = string.format('%.6f', now)
        for first = 1, math.min(cost, w.quota), 5000 do
            local entries = {}
            for i = 1, math.min(5000, math.min(cost, w.quota) - first + 1) do entries[i] = at end
            redis.call('lpush', w.key, unpack(entries))
        end
        redis.call('ltrim', w.key, 0, w.quota - 1)
        redis.call('expire', w.key, w.seconds)
    end,
}

windows['sliding-window-counter'] = {
    read = function(w)
        local left = seconds_left(w.key)
        if left > 0 and left < w.seconds then
            redis.call('rename', w.key, w.previous)
            put(w.key, 0, left + w.seconds)
        end
        return {count(w.previous), seconds_left(w.previous), count(w.key), seconds_left(w.key)}
    end,
    take = function(w)
        local left = seconds_left(w.key)
        local starts = now + left - 2 * w.seconds
        if left == 0 then
            if cost > 0 then put(w.key, cost, 2 * w.seconds) end
        elseif cost > 0 or since >= starts then
            redis.call('incrby', w.key, math.max(cost, -count(w.key)))
        elseif since >= starts - w.seconds and count(w.previous) > 0 then
            redis.call('incrby', w.previous, math.max(cost, -count(w.previous)))
        end
    end,
}

local limits, window, charge = {}, windows[strategy], nil
local width = strategy == 'sliding-window-counter' and 2 or 1
for i = 6, #ARGV, 2 do
    local at = (i - 6) / 2 * width
    limits[#limits + 1] = {
        quota = tonumber(ARGV[i]), seconds = tonumber(ARGV[i + 1]),
        key = KEYS[at + 1], previous = KEYS[at + 2],  -- of a sliding window
    }
end
if remember > 0 then charge = KEYS[#KEYS] end
if charge and redis.call('exists', charge) == 1 then cost = 0 end

local admitted, readings = true, {}
for i, w in ipairs(limits) do
    local reading = window.read(w)
    local taken = reading[1]
    if #reading == 4 then taken = math.floor(reading[1] * reading[2] / w.seconds) + reading[3] end
    if not forced and taken + cost > w.quota then admitted = false end
    readings[i] = reading
end
if admitted and cost ~= 0 then
    for i, w in ipairs(limits) do window.take(w) end
    if charge then redis.call('set', charge, '', 'PX', math.ceil(remember * 1000)) end
    cost = 0
    for i, w in ipairs(limits) do readings[i] = window.read(w) end
end

local numbers = {admitted and 1 or 0, string.format('%.6f', now)}
for _, reading in ipairs(readings) do
    for _, number in ipairs(reading) do numbers[#numbers + 1] = string.format('%.6f', number) end
end
return numbers
"""


class RedisLimits:
    """Windows of one strategy, decided by one script.

    Args:
        url: The server, as `limits` writes it.
        strategy: How windows move.
        timeout: Seconds to wait at most for a connection, and for an answer.

    Raises:
        ConfigurationError: The URL cannot be used, or the client library is not installed.
        StoreUnavailable: From `decide`: the server cannot be reached in time.
    """

    def __init__(self, url: Secret, strategy: Strategy, timeout: float) -> None:
        self._strategy = strategy
        self._storage = _opened(url, timeout)
        self._silence: type[Exception] = self._storage.dependency.TimeoutError
        self._script: Any = self._storage.get_connection().register_script(_SCRIPT.encode())

    def decide(
        self,
        limits: Limits,
        who: str,
        cost: int = 1,
        *,
        once: str | None = None,
        remember: float = 0.0,
        forced: bool = False,
        since: float = 0.0,
    ) -> Decision:
        """Take from all windows or from none, see `LimitBackend.decide`."""
        keys = [key for limit in limits for key in self._keys(limit, who)]
        if once is not None:
            keys.append(self._storage.prefixed_key(f"charged/{once}"))
        args = [self._strategy, cost, int(forced), since, remember if once is not None else 0]
        for limit in limits:
            args += [limit.quota, limit.seconds]
        try:
            admitted, at, *answer = self._script(keys=keys, args=args)
        except self._storage.base_exceptions as error:
            if isinstance(error, self._silence):
                forget_idle(self._storage.get_connection())
            raise StoreUnavailable(
                "the rate limit store (valkey) cannot be reached, or refuses commands"
            ) from bare(error)
        numbers = [float(number) for number in answer]
        width = len(numbers) // len(limits)
        asked = 0 if admitted else cost
        readings = [numbers[i * width : (i + 1) * width] for i in range(len(limits))]
        windows = [read_window(limit, asked, *r) for limit, r in zip(limits, readings, strict=True)]
        return Decision(bool(admitted), float(at), windows)

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self._storage.get_connection().connection_pool.disconnect()  # type: ignore[attr-defined]

    def _keys(self, limit: Limit, who: str) -> list[str]:
        key, storage = limit.item.key_for(who), self._storage
        if self._strategy != "sliding-window-counter":
            return [storage.prefixed_key(key)]
        return [storage.prefixed_key(f"{{{key}}}"), storage.prefixed_key(f"{{{key}}}/-1")]


def _opened(url: Secret, timeout: float) -> RedisStorage:
    options: dict[str, Any] = {"socket_timeout": timeout}
    if "+unix" not in scheme_of(url):
        options["socket_connect_timeout"] = timeout
    try:
        storage = storage_from_string(re.sub("^redis", "valkey", revealed(url)), **options)
    except (LimitsConfigurationError, ValueError):  # whose text quotes the URL
        raise ConfigurationError(
            "the rate limit store (valkey) cannot be used; write redis://user:password@host:6379/0, with special "
            "characters of the password percent-encoded, and pip install 'lg-prod-nodes[redis]' for its client library"
        ) from None
    assert isinstance(storage, RedisStorage)
    return storage
