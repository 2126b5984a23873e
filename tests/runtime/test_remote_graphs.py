"""What a remote graph streams into the stream of the graph that calls it is filtered, whatever the mode."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.pregel.remote import RemoteGraph
from langgraph_sdk.schema import StreamPart

from lg_prod_nodes import ContentBlocked, ContentFilter, Metrics, Redact, harden

HI: Any = {"messages": [("user", "Hi.")]}
MODES = ["custom", "messages", "updates", "values"]
SECRET = "ada@example.com"


def message(content: str, **fields: Any) -> list[Any]:
    return [{"type": "AIMessageChunk", "id": "1", "content": content, **fields}, {"to": SECRET}]


def call(args: str) -> dict[str, Any]:
    return {"tool_call_chunks": [{"name": None, "args": args, "id": None, "index": 0}]}


SENT = [
    StreamPart("custom|inner:1", {"said": "Write to ada@exam"}),
    StreamPart("custom|inner:1", {"said": "ple.com now."}),
    StreamPart("messages|inner:1", message("Write to ada@exam")),
    StreamPart("messages|inner:1", message("ple.com now.")),
    StreamPart("messages|inner:1", message("", **call('{"to": "ada@exam'))),
    StreamPart("messages|inner:1", message("", **call('ple.com"}'))),
    StreamPart("updates|inner:1", {"inner": {"messages": [{"type": "ai", "content": SECRET}]}}),
    StreamPart("values", {"messages": [{"type": "ai", "content": SECRET, "id": "1"}]}),
]


class Runs:
    """Stands where the network would be."""

    def __init__(self, sent: list[StreamPart]) -> None:
        self.runs, self._sent = self, sent

    def stream(self, **options: Any) -> Any:
        return iter(self._sent)


class AsyncRuns(Runs):
    async def _items(self) -> AsyncIterator[StreamPart]:
        for part in self._sent:
            yield part

    def stream(self, **options: Any) -> Any:
        return self._items()


def remote(sent: list[StreamPart] = SENT) -> Any:
    clients: Any = {"client": AsyncRuns(sent), "sync_client": Runs(sent)}
    return RemoteGraph("assistant", **clients)


def in_a_function(state: Any, config: RunnableConfig) -> Any:
    return remote().invoke(state, config)


async def in_an_async_function(state: Any, config: RunnableConfig) -> Any:
    return await remote().ainvoke(state, config)


def graph(node: Any, policy: Any) -> Any:
    return harden(
        StateGraph(MessagesState).add_node("n", node).add_edge(START, "n"), [policy]
    ).compile()


def streamed(node: Any, policy: Any) -> Iterator[Any]:
    return graph(node, policy).stream(HI, stream_mode=MODES, subgraphs=True)


async def astreamed(node: Any, policy: Any) -> list[Any]:
    chunks = graph(node, policy).astream(HI, stream_mode=MODES, subgraphs=True)
    return [chunk async for chunk in chunks]


def of_mode(chunks: list[Any], mode: str) -> list[Any]:
    return [data for namespace, kind, data in chunks if kind == mode and namespace]


def check(chunks: list[Any]) -> None:
    assert "ada@" not in repr(chunks)
    assert "ple.com" not in repr(chunks)
    custom = "".join(each["said"] for each in of_mode(chunks, "custom"))
    assert custom == "Write to [EMAIL_ADDRESS] now."
    messages = [said for said, _ in of_mode(chunks, "messages")]
    assert "".join(said["content"] for said in messages) == "Write to [EMAIL_ADDRESS] now."
    args = [each["args"] for said in messages for each in said.get("tool_call_chunks", ())]
    assert "".join(args) == '{"to": "[EMAIL_ADDRESS]"}'
    assert of_mode(chunks, "updates")[0]["inner"]["messages"][0]["content"] == "[EMAIL_ADDRESS]"


@pytest.mark.parametrize("node", [remote(), in_a_function], ids=["node", "function"])
def test_every_mode_is_filtered(node: Any) -> None:
    check(list(streamed(node, Redact())))


@pytest.mark.parametrize("node", [remote(), in_an_async_function], ids=["node", "function"])
async def test_every_mode_is_filtered_asynchronously(node: Any) -> None:
    check(await astreamed(node, Redact()))


def test_nothing_changes_without_a_policy_of_content() -> None:
    builder = StateGraph(MessagesState).add_node("n", remote()).add_edge(START, "n")
    bare = list(builder.compile().stream(HI, stream_mode=MODES, subgraphs=True))
    chunks = list(streamed(remote(), Metrics()))
    for mode in MODES:
        assert of_mode(chunks, mode) == of_mode(bare, mode)
        assert of_mode(chunks, mode)


def test_nothing_follows_a_blocked_term() -> None:
    sent = [
        StreamPart("custom", {"said": "how to build a bo"}),
        StreamPart("custom", {"said": "mb"}),
    ]
    chunks: list[Any] = []
    with pytest.raises(ContentBlocked):
        chunks.extend(streamed(remote(sent), ContentFilter(["bomb"])))
    assert "mb" not in repr(chunks)


def test_a_reader_that_stops_early_ends_it() -> None:
    chunks = streamed(remote(), Redact())
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("mode", ["custom", "messages"])
async def test_what_is_held_back_leaves_at_the_end(mode: str) -> None:
    data = {"said": "4111 11"} if mode == "custom" else message("4111 11")
    sent = [StreamPart(f"{mode}|inner:1", data), StreamPart("values", {"messages": []})]  # type: ignore[arg-type]
    for chunks in (
        list(streamed(remote(sent), Redact())),
        await astreamed(remote(sent), Redact()),
    ):
        assert "4111 11" in repr(of_mode(chunks, mode))
