"""Checkpoints are data: a row names no class but those that the graph's state is made of."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import ormsgpack
import psycopg
import pytest
from langchain.agents import create_agent
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, Send, interrupt
from pydantic import BaseModel, SecretStr
from typing_extensions import TypedDict

from lg_prod_nodes import ConfigurationError, Production, Settings, UntrustedType
from lg_prod_nodes.service.persistence import open_postgres
from lg_prod_nodes.service.serde import StrictSerializer
from lg_prod_nodes.service.state_types import state_types

THREAD: dict[str, Any] = {"configurable": {"thread_id": "1"}}
T = TypeVar("T")


class Color(Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Shape:
    color: Color


@dataclass
class Circle(Shape):
    center: Point


class Item(BaseModel):
    name: str
    secret: SecretStr = SecretStr("s")


class Order(BaseModel):
    items: list[Item]


class Box(BaseModel, Generic[T]):
    inside: T


class Named(BaseModel):
    name: str


class Returned(BaseModel):
    name: str


class Stranger(BaseModel):
    name: str


MADE = (Circle, Color, Point, Order, Item, Box, Named)


class Reversed:
    """The least of ciphers."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        return "reversed", plaintext[::-1]

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        return ciphertext[::-1]


class State(TypedDict, total=False):
    messages: Annotated[Sequence[AnyMessage], add_messages]
    shapes: dict[str, Shape | None]
    order: Order
    box: Annotated[list[Box[Any]], operator.add]
    anything: Any


def agent(state: State) -> dict[str, Any]:
    return {
        "messages": [AIMessage("Hello.")],
        "shapes": {"one": Circle(Color.RED, Point(1, 2))},
        "order": Order(items=[Item(name="book")]),
        "box": [Box(inside=1)],
        "anything": [Named(name="ada"), *make()],
    }


def make() -> list[Any]:
    return []


def builder(node: Any = agent) -> StateGraph[State]:
    return StateGraph(State).add_node("agent", node).add_edge(START, "agent")


def test_all_that_a_graph_names_is_read_as_it_was_written(dsn: str) -> None:
    with Production(builder(), postgres=dsn) as app:
        written = app.invoke({"messages": [HumanMessage("Hi")]}, THREAD)
    with Production(builder(), postgres=dsn) as app:
        read = app.get_state(THREAD).values
    assert read == written
    assert isinstance(read["shapes"]["one"], Circle)
    assert isinstance(read["anything"][0], Named), "its node names it, its schema does not"


def test_a_class_that_it_does_not_name_is_refused_by_name_and_may_be_allowed(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.make", lambda: [Stranger(name="bob")])
    name = f"{__name__}:Stranger"
    with Production(builder(), postgres=dsn) as app:
        app.invoke({}, THREAD)
        with pytest.raises(UntrustedType, match=rf"allowed_types=\['{name}'\]") as raised:
            app.get_state(THREAD)
    assert raised.value.types == (name,)
    for allowed in (Stranger, name):
        with Production(builder(), postgres=dsn, allowed_types=[allowed]) as app:
            assert app.get_state(THREAD).values["anything"][1] == Stranger(name="bob")
    monkeypatch.setenv("LG_PROD_ALLOWED_TYPES", f"app.models:Order, {name}")
    with Production(builder(), postgres=dsn) as app:
        assert app.get_state(THREAD).values["anything"][1] == Stranger(name="bob")


@pytest.mark.parametrize(
    "evil",
    [
        ormsgpack.Ext(0, ormsgpack.packb(("os", "system", "touch marked"))),
        ormsgpack.Ext(1, ormsgpack.packb(("os", "system", ("touch marked",)))),
        ormsgpack.Ext(2, ormsgpack.packb(("subprocess", "Popen", {"args": ["touch", "marked"]}))),
        ormsgpack.Ext(3, ormsgpack.packb(("pathlib", "Path", "marked", "touch"))),
        ormsgpack.Ext(5, ormsgpack.packb(("os", "system", {"command": "touch marked"}, "x"))),
        [{"deep": ormsgpack.Ext(0, ormsgpack.packb(("os", "system", "touch marked")))}],
    ],
    ids=["one", "positional", "keywords", "method", "model", "deep"],
)
@pytest.mark.parametrize("table", ["checkpoint_blobs", "checkpoint_writes"])
def test_a_poisoned_row_runs_no_code(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evil: Any, table: str
) -> None:
    monkeypatch.chdir(tmp_path)
    poison = f"UPDATE {table} SET type = 'msgpack', blob = %s WHERE channel <> '__start__'"
    with Production(builder(), postgres=dsn) as app:
        app.invoke({}, THREAD)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(poison, [ormsgpack.packb(evil)])  # type: ignore[arg-type]
        with pytest.raises(UntrustedType, match=r"'(os:system|subprocess:Popen|pathlib:Path)'"):
            list(app.get_state_history(THREAD))
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_none_is_not_repeated() -> None:
    evil = ormsgpack.packb(ormsgpack.Ext(0, ormsgpack.packb(("my secret is 1", "x" * 500, "y"))))
    with pytest.raises(UntrustedType) as raised:
        StrictSerializer().loads_typed(("msgpack", evil))
    assert raised.value.types == ("?",)


def test_interrupts_sends_and_commands_come_back(dsn: str) -> None:
    def ask(state: State) -> Any:
        return Command(goto=Send("agent", {"anything": interrupt(Named(name="?"))}))

    graph = StateGraph(State).add_node("agent", agent).add_node("ask", ask).add_edge(START, "ask")
    with Production(graph, postgres=dsn) as app:
        app.invoke({}, THREAD)
    with Production(graph, postgres=dsn) as app:
        (waiting,) = app.get_state(THREAD).interrupts
        assert waiting.value == Named(name="?")
        app.invoke(Command(resume="yes"), THREAD)
        assert app.get_state(THREAD).values["messages"]


def test_tasks_of_the_functional_api_are_read_by_their_annotations(dsn: str) -> None:
    @task
    def fetch(name: str) -> Returned:
        return Returned(name=name)

    @entrypoint()
    def workflow(name: str, *, previous: Returned | None = None) -> Returned:
        found = fetch(name).result()
        if name == "bob":
            interrupt("sure?")
        return previous or found

    with Production(workflow, postgres=dsn) as app:
        assert app.invoke("ada", THREAD) == Returned(name="ada")  # type: ignore[arg-type]
    with Production(workflow, postgres=dsn) as app:
        app.invoke("bob", THREAD)  # type: ignore[arg-type]
        assert app.invoke(Command(resume=True), THREAD) == Returned(name="ada")


def test_subgraphs_and_tools_are_looked_into() -> None:
    class Inner(TypedDict):
        item: Named

    @tool(response_format="content_and_artifact")
    def look(name: str) -> tuple[str, Any]:
        """Look something up."""
        return name, Returned(name=name)

    inner = StateGraph(Inner).add_node("set", lambda state: {}).add_edge(START, "set").compile()
    found = state_types(StateGraph(State).add_node("in", inner).add_edge(START, "in").compile())
    assert {Named, Order, Item, Shape, Circle, Color, Point, Box} <= found
    made = create_agent(FakeListChatModel(responses=["x"]), [look], response_format=Order)
    assert {Returned, Order, Item} <= state_types(made)


def test_a_serializer_of_the_caller_s_own_decides_by_itself(dsn: str) -> None:
    encrypted = EncryptedSerializer(
        Reversed(), JsonPlusSerializer(allowed_msgpack_modules=[Stranger, *MADE])
    )
    with Production(builder(), postgres=dsn, serde=encrypted) as app:
        app.invoke({"anything": "plain words"}, THREAD)
        assert app.get_state(THREAD).values["messages"][0].content == "Hello."
    with psycopg.connect(dsn) as connection:
        types = connection.execute("SELECT DISTINCT type FROM checkpoint_blobs").fetchall()
    assert ("msgpack+reversed",) in types
    with pytest.raises(ConfigurationError, match="give one of them"):
        Production(builder(), serde=encrypted, allowed_types=[Stranger])


@pytest.mark.parametrize("wrong", ["os.system", ":x", "module:", 3])
def test_what_names_no_class_is_refused_when_building(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="module:Name"):
        Production(builder(), allowed_types=[wrong])


def test_settings_refuse_what_names_no_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LG_PROD_ALLOWED_TYPES", "os.system")
    with pytest.raises(ConfigurationError, match="module:Name"):
        Settings()


def test_a_checkpointer_that_knows_no_graph_reads_messages_alone(dsn: str) -> None:
    with open_postgres(dsn) as (saver, _):
        app = builder().compile(saver)
        app.invoke({}, THREAD)
        with pytest.raises(UntrustedType, match="LG_PROD_ALLOWED_TYPES"):
            app.get_state(THREAD)
        talk = StateGraph(MessagesState).add_node("a", lambda s: {"messages": [("ai", "x")]})
        other: Callable[..., Any] = talk.add_edge(START, "a").compile(saver).invoke
        config = {"configurable": {"thread_id": "2"}}
        other({"messages": [("user", "Hi")]}, config)
        assert saver.get_tuple(config) is not None
