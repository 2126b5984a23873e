"""A proxy between a program and its database that breaks the connection in the ways of real networks.

    with FaultProxy("127.0.0.1", 5432) as proxy:
        connect(port=proxy.port)
        proxy.black_hole()
        proxy.heal()

It runs in a thread of its own and is switched from any other; a fault meets the connections that are open, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Literal

Mode = Literal["pass", "refuse", "reset", "black hole", "slow"]

_CHUNK = 1 << 14


class _Link:
    """A connection of a client, and the one to the server behind it."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.ends = [client]
        self.is_lost = False  # what was swallowed is gone: such a connection never works again

    def reset(self) -> None:
        for end in self.ends:
            linger = struct.pack("ii", 1, 0)
            with contextlib.suppress(OSError):
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            end.transport.abort()


class FaultProxy:
    """Passes on what it gets, until it is told to break.

    Args:
        host: Where the server is.
        port: Its port; may be changed while the proxy runs.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host, self.target = host, port
        self.port = 0
        self.mode: Mode = "pass"
        self._latency, self._rate = 0.0, float("inf")
        self._links: set[_Link] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._listening: socket.socket | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def heal(self) -> None:
        """Pass on again what comes from now on."""
        self._do(self._switch("pass"))

    def refuse(self) -> None:
        """Close the port, and all connections."""
        self._do(self._switch("refuse"))

    def reset(self) -> None:
        """Reset all connections, and each new one as soon as somebody says something."""
        self._do(self._switch("reset"))

    def black_hole(self) -> None:
        """Take everything and hand nothing on; connections that are open now never work again."""
        self._do(self._switch("black hole"))

    def slow(self, latency: float, rate: float) -> None:
        """Hand on each piece so many seconds later, and so many bytes a second."""
        self._latency, self._rate = latency, rate
        self._do(self._switch("slow"))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        listening = socket.create_server(("127.0.0.1", self.port))
        listening.setblocking(False)
        self.port = listening.getsockname()[1]
        self._loop.add_reader(listening, self._accept, listening)
        self._listening = listening

    def _accept(self, listening: socket.socket) -> None:
        # Not `asyncio.start_server`: a connection that comes while that closes stays open for ever. And not
        # `sock_accept`, which loses one that comes while it is cancelled.
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            taken, _ = listening.accept()
            task = self._loop.create_task(self._serve(taken))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    def _close(self, listening: socket.socket) -> None:
        self._loop.remove_reader(listening)
        listening.close()

    async def _switch(self, mode: Mode) -> None:
        self.mode = mode
        if mode == "refuse" and self._listening is not None:
            self._close(self._listening)
            self._listening = None
        if mode != "refuse" and self._listening is None:
            await self._listen()
        for link in list(self._links):
            link.is_lost = link.is_lost or mode == "black hole"
            if mode in ("refuse", "reset"):
                link.reset()

    async def _end(self) -> None:
        await self._switch("refuse")
        await asyncio.gather(*self._serving)

    async def _serve(self, taken: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=taken)
        link = _Link(writer)
        link.is_lost = self.mode == "black hole"
        self._links.add(link)
        try:
            if self.mode == "refuse":
                link.reset()
            elif link.is_lost:
                while await reader.read(_CHUNK):
                    pass
            else:
                await self._join(link, reader)
        except OSError:
            link.reset()
        finally:
            self._links.discard(link)
            for end in link.ends:
                end.close()

    async def _join(self, link: _Link, reader: asyncio.StreamReader) -> None:
        answers, server = await asyncio.open_connection(self.host, self.target)
        link.ends.append(server)
        ways = [
            asyncio.create_task(self._hand_on(link, reader, server)),
            asyncio.create_task(self._hand_on(link, answers, link.ends[0])),
        ]
        _, left = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in left:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)

    async def _hand_on(
        self, link: _Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        while piece := await source.read(_CHUNK):
            if self.mode == "slow":
                await asyncio.sleep(self._latency + len(piece) / self._rate)
            if self.mode == "reset":
                link.reset()
            if not link.is_lost:
                sink.write(piece)
                await sink.drain()
