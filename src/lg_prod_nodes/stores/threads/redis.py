"""Lines of threads in Redis or Valkey: one hash for all lines, and a key that expires for each worker."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from lg_prod_nodes.core.errors import StoreUnavailable
from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.databases.redis import Redis
from lg_prod_nodes.stores.threads.backend import Row

_LINES = "lg_prod_nodes:threads"  # the name of the channel too
_WORKER = "lg_prod_nodes:worker:"
_RETRY_SECONDS = 1.0

_SHARED = """
local function split(stored)
    local fence, line = string.match(stored, '^(%d+) (.*)$')
    return line, fence
end

local function alive(line)
    local found = {}
    for worker in string.gmatch(line, '"worker":"(%x+)"') do
        local left = redis.call('pttl', ARGV[1] .. worker)
        if left > 0 then
            found[#found + 1] = worker
            found[#found + 1] = left
        end
    end
    return found
end
"""
_READ = (
    _SHARED
    + """
local stored = redis.call('hget', KEYS[1], ARGV[2])
if not stored then return {} end
local line, fence = split(stored)
return {line, fence, alive(line)}
"""
)
_SWAP = (
    _SHARED
    + """
local name, old, new, passes, watched = ARGV[2], ARGV[3], ARGV[4], ARGV[5] == '1', ARGV[6] == '1'
local stored = redis.call('hget', KEYS[1], name)
local line, fence = '', '0'
if stored then line, fence = split(stored) end
if line ~= old then return false end
if passes then
    local clock = redis.call('time')
    local now = clock[1] * 1000000 + clock[2]
    fence = string.format('%.0f', math.max(fence + 1, now))
end
if new == '' then
    redis.call('hdel', KEYS[1], name)
else
    redis.call('hset', KEYS[1], name, fence .. ' ' .. new)
end
if watched then redis.call('publish', KEYS[1], name) end
return fence
"""
)
_BEAT = (
    _SHARED
    + """
redis.call('set', ARGV[1] .. ARGV[2], '', 'PX', ARGV[3])
local all, found = redis.call('hgetall', KEYS[1]), {}
for at = 1, #all, 2 do
    local line, fence = split(all[at + 1])
    if string.find(line, ARGV[2], 1, true) then
        found[#found + 1] = {all[at], line, fence, alive(line)}
    end
end
return found
"""
)
_SCRIPTS = {"read": _READ, "swap": _SWAP, "beat": _BEAT}


class RedisThreads:
    """Lines as texts, by the name of the thread.

    Args:
        url: The server.
        timeout: Seconds to wait at most for a connection, and for an answer.

    Raises:
        ConfigurationError: The URL cannot be read.
        StoreUnavailable: From the methods: the server cannot be reached in time.
    """

    def __init__(self, url: Secret, timeout: float) -> None:
        self._redis = Redis(url, timeout, holds="threads")
        self._scripts = {
            name: self._redis.client.register_script(text) for name, text in _SCRIPTS.items()
        }
        self._channel: Any = None
        self._process = os.getpid()

    def read(self, name: str, worker: str) -> Row:
        """Read a line."""
        found = self._run("read", name)
        return _row(*found) if found else Row(None, 0, {})

    def swap(
        self, name: str, old: str | None, new: str, *, passes: bool, watched: bool
    ) -> int | None:
        """Store another line if the stored one still is `old`."""
        fence = self._run("swap", name, old or "", new, int(passes), int(watched))
        return None if fence is None else int(fence)

    def beat(self, worker: str, seconds: float) -> dict[str, Row]:
        """Say that a worker lives for some seconds more; return the lines that it is in."""
        found = self._run("beat", worker, round(seconds * 1000))
        return {name: _row(*values) for name, *values in found}

    def find(self, run: str) -> list[str]:
        """Return the threads that may have a run."""
        lines = self._redis.ask(lambda: self._redis.client.hgetall(_LINES))
        return [name for name, line in lines.items() if run in line]

    def changes(self, seconds: float) -> Iterator[str]:
        """Wait for what is published."""
        try:
            message = self._redis.ask(lambda: self._listening().get_message(timeout=seconds))
        except StoreUnavailable:
            self.hang_up()
            time.sleep(min(seconds, _RETRY_SECONDS))
            return
        if message is not None and message["type"] == "message":
            yield message["data"]

    def hang_up(self) -> None:
        """Close the connection that listens."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self._redis.close()

    def _listening(self) -> Any:
        if self._channel is None or self._process != os.getpid():
            self._process = os.getpid()
            self._channel = self._redis.client.pubsub()
            self._channel.subscribe(_LINES)
        return self._channel

    def _run(self, name: str, *args: str | int) -> Any:
        return self._redis.ask(lambda: self._scripts[name](keys=[_LINES], args=[_WORKER, *args]))


def _row(line: str, fence: str, alive: list[Any]) -> Row:
    pairs = zip(alive[::2], alive[1::2], strict=True)
    return Row(line, int(fence), {worker: float(left) / 1000 for worker, left in pairs})
