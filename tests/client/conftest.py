"""A real LangGraph Server, and a proxy before it that cuts connections."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from tests.serving import langgraph_server

GRAPH = """
import asyncio
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph

async def speak(state: MessagesState):
    writer = get_stream_writer()
    words = state["messages"][-1].text.split()
    for number, word in enumerate(words):
        await asyncio.sleep(float(word))
        writer({"number": number, "padding": "." * 200})
    return {"messages": [("assistant", f"{len(words)} words")]}

graph = StateGraph(MessagesState).add_node(speak).add_edge(START, "speak").compile()
"""


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "graph.py").write_text(GRAPH)
    settings = {"dependencies": ["."], "graphs": {"agent": "./graph.py:graph"}}
    (folder / "langgraph.json").write_text(json.dumps(settings))
    with langgraph_server(folder, options="--n-jobs-per-worker 8") as server:
        yield server.url


Cut = Callable[[bytes], int | None]
"""Returns after how many bytes of a request's answer to cut the connection, `None` for never."""


class CuttingProxy:
    """Passes a request on, and cuts the connection after some bytes of its answer; one request a connection."""

    def __init__(self, target: str, cut: Cut) -> None:
        self._host, _, port = target.removeprefix("http://").partition(":")
        self._port, self._cut = int(port), cut
        self.requests: list[str] = []
        self._serving: list[asyncio.Task[None]] = []
        self.cuts = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, server = await asyncio.open_connection(self._host, self._port)
        ends = (writer, server)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._exchange(reader, answers, writer, server)
        finally:
            for end in ends:
                end.transport.abort()
            await asyncio.gather(*(end.wait_closed() for end in ends), return_exceptions=True)

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        answers: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head.partition(b"\r\n")[0].decode().rpartition(" ")[0])
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        body = await reader.readexactly(int(length[1])) if length else b""
        head = re.sub(rb"connection: keep-alive", b"Connection: close", head, flags=re.IGNORECASE)
        server.write(head + body)
        await server.drain()
        left = self._cut(head)
        while piece := await answers.read(256):
            writer.write(piece if left is None else piece[:left])
            await writer.drain()
            if left is not None and (left := left - len(piece)) <= 0:
                self.cuts += 1
                return
        writer.write_eof()
