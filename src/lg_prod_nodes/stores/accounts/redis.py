"""Accounts in Redis or Valkey, for all processes: a script for each step that nothing may come between.

An account's keys have its name as their hash tag, so that a cluster keeps them together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.databases.redis import Redis
from lg_prod_nodes.stores.accounts.account import Account, Balance, Reservation

_SHARED = """
local spent, grants, held, charge = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local clock = redis.call('time')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function whole(number)
    return string.format('%.0f', number)
end

local function put(key, value, milliseconds)  -- for so long at least, or for ever
    local left = redis.call('pttl', key)
    redis.call('set', key, whole(value))
    if milliseconds >= 0 and left ~= -1 then
        redis.call('pexpire', key, whole(math.max(left, milliseconds)))
    end
end

local function hold(entry, reserved)
    redis.call('hset', held, entry, cjson.encode(reserved))
    redis.call('pexpire', held, whole(math.max(redis.call('pttl', held), reserved.lease * 2)))
end

local function reservation(entry)
    local found = redis.call('hget', held, entry)
    local reserved = found and cjson.decode(found)
    return reserved and reserved.ends > now and reserved or nil
end

local function balance(beside)
    local granted, reserved = 0, 0
    for _, amount in ipairs(redis.call('hvals', grants)) do granted = granted + amount end
    local all = redis.call('hgetall', held)
    for at = 1, #all, 2 do
        local other = cjson.decode(all[at + 1])
        if other.ends <= now then
            redis.call('hdel', held, all[at])
        elseif all[at] ~= beside then
            reserved = reserved + math.max(other.amount - other.settled, 0)
        end
    end
    return tonumber(redis.call('get', spent) or 0), reserved, granted
end
"""
_RESERVE = (
    _SHARED
    + """
local entry, id, amount, limit, lease = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5] * 1000
local earlier = tonumber(redis.call('get', charge) or 0)
local used, reserved, granted = balance(entry)
local room = limit + granted - used - reserved + earlier
if amount <= room then
    hold(entry, {
        id = id, amount = whole(amount), settled = whole(earlier), lease = lease, ends = now + lease,
    })
end
return {whole(room), whole(earlier)}
"""
)
_SETTLE = (
    _SHARED
    + """
local entry, id, actual, lasts, remembered =
    ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] * 1000, ARGV[5] * 1000
local earlier = tonumber(redis.call('get', charge) or 0)
if actual ~= 0 or earlier ~= 0 then
    put(spent, redis.call('get', spent) or 0, lasts)
    redis.call('incrby', spent, whole(actual - earlier))
    put(charge, actual, remembered)
end
local reserved = reservation(entry)
if reserved and reserved.id == id then
    redis.call('hdel', held, entry)
elseif reserved then
    reserved.settled = whole(actual)
    hold(entry, reserved)
end
local used, others, granted = balance(nil)
return whole(granted - used - others)
"""
)
_RENEW = (
    _SHARED
    + """
local reserved = reservation(ARGV[1])
if reserved and reserved.id == ARGV[2] then
    reserved.ends = now + reserved.lease
    hold(ARGV[1], reserved)
end
"""
)
_GRANT = (
    _SHARED
    + """
local left, lasts = redis.call('pttl', grants), ARGV[3] * 1000
redis.call('hset', grants, ARGV[1], ARGV[2])
if lasts >= 0 and left ~= -1 then
    redis.call('pexpire', grants, whole(math.max(left, lasts)))
end
"""
)
_BALANCE = (
    _SHARED
    + """
local used, reserved, granted = balance(nil)
return {whole(used), whole(reserved), whole(granted)}
"""
)
_SCRIPTS = {
    "reserve": _RESERVE,
    "settle": _SETTLE,
    "renew": _RENEW,
    "grant": _GRANT,
    "balance": _BALANCE,
}


class RedisAccounts:
    """Accounts in Redis or Valkey.

    Args:
        url: The server.
        timeout: Seconds to wait at most for a connection, and for an answer.

    Raises:
        ConfigurationError: The URL cannot be read.
        StoreUnavailable: From the methods: the server cannot be reached in time.
    """

    def __init__(self, url: Secret, timeout: float) -> None:
        self._redis = Redis(url, timeout, holds="accounts")
        self._scripts = {
            name: self._redis.client.register_script(text) for name, text in _SCRIPTS.items()
        }

    def reserve(self, wanted: Reservation) -> Reservation:
        """Reserve an amount if enough is available."""
        account = wanted.account
        answer = self._run(
            "reserve", account, wanted.entry, wanted.id, wanted.amount, account.limit, wanted.lease
        )
        room, earlier = map(int, answer)
        granted = wanted.amount <= room
        left = room - wanted.amount if granted else max(room, 0)
        return replace(wanted, granted=granted, available=left, earlier=earlier)

    def settle(self, reservation: Reservation, actual: int) -> int:
        """End a reservation and let its charge be `actual`."""
        account = reservation.account
        names = (reservation.entry, reservation.id)
        kept = (_or_for_ever(account.lasts), reservation.remembered)
        left = int(self._run("settle", account, *names, actual, *kept))
        return max(account.limit + left, 0)

    def renew(self, reservations: list[Reservation]) -> None:
        """Let the leases that hold still begin anew."""
        for reservation in reservations:
            self._run("renew", reservation.account, reservation.entry, reservation.id)

    def grant(self, account: Account, more: int, id: str) -> None:
        """Let a grant be `more`."""
        self._run("grant", account, id, more, _or_for_ever(account.lasts))

    def granted(self, account: Account, id: str) -> int | None:
        """What a grant is."""
        found = self._redis.ask(lambda: self._redis.client.hget(_keys(account)[1], id))
        return None if found is None else int(found)

    def balance(self, account: Account) -> Balance:
        """How an account stands."""
        return Balance(*map(int, self._run("balance", account, "")))

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self._redis.close()

    def _run(self, name: str, account: Account, entry: str, *args: str | float) -> Any:
        keys = [*_keys(account), f"{_prefix(account)}:charge:{entry}"]
        return self._redis.ask(lambda: self._scripts[name](keys=keys, args=[entry, *args]))


def _prefix(account: Account) -> str:
    return f"lg_prod_nodes:{{{account.key}}}"


def _keys(account: Account) -> list[str]:
    return [f"{_prefix(account)}:{name}" for name in ("spent", "grants", "held")]


def _or_for_ever(seconds: float | None) -> float:
    return -1 if seconds is None else seconds
