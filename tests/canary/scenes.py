"""The scenes in which values are planted, each run in several ways."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, RemoveMessage
from langgraph.graph import START, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from tests.canary.agents import (
    Agency,
    ModelState,
    ObjectState,
    run_functional,
    run_objects,
    run_owned,
)
from tests.canary.errors import Failures
from tests.canary.graphs import Desk, State
from tests.canary.models import Speaker
from tests.canary.site import Site, on_thread
from tests.canary.spellings import run_spellings
from tests.canary.talks import Talk
from tests.canary.terms import BLOCKED, run_terms
from tests.canary.ways import OLD_WAYS, WAYS, Way, telling

from lg_prod_nodes import CaptureErrors, ContentFilter, Redact
from lg_prod_nodes.core.policy import Policy

_AT_ONCE = 4


async def run_desk(site: Site, ways: Sequence[Way], *parts: str) -> None:
    """Let a value out on every surface of a graph, at once."""
    desk = Desk(site.plants, site.face)
    parts = parts or tuple(desk.parts())
    graph = site.compile(desk.builder(*parts))
    # LangGraph cannot run a subgraph without memory under `durability="sync"`.
    synchronous = site.compile(desk.builder(*(part for part in parts if part != "stateless")))
    for way in ways:
        chosen = synchronous if way.options.get("durability") == "sync" else graph
        await site.run(way, chosen, desk.input(), desk.config(), thread=parts[0])
        await site.look_back(way, chosen, thread=parts[0])
    site.evidence.add("received by models and tools", *desk.received)


async def run_slices(site: Site, ways: Sequence[Way]) -> None:
    """Run the parts of the desk a few at a time, for what is slow with many."""
    desk = Desk(site.plants, site.face)
    parts = desk.parts()
    given = {"messages": [("user", "hi")], "log": []}
    for at in range(0, len(parts), _AT_ONCE):
        graph = site.compile(desk.builder(*parts[at : at + _AT_ONCE]))
        for way in ways:
            await site.run(way, graph, given, thread=parts[at])


async def run_older_thread(site: Site, ways: Sequence[Way]) -> None:
    """Go on with a thread that was begun without policies: it is raw itself, but no model is to get it."""
    received: list[Any] = []

    async def asks(state: State) -> Any:
        model = Speaker(says=AIMessage("well"), asked=received)
        return {"messages": [await site.face.call(model, "invoke", state["messages"])]}

    builder = StateGraph(State).add_node("asks", site.face.node(asks)).add_edge(START, "asks")
    plain = builder.compile(checkpointer=site.saver)
    for way in ways:
        thread = {"configurable": on_thread(way, "older")}
        older = {"messages": [("user", site.plants.text("older thread: message"))]}
        await site.face.call(plain, "update_state", thread, older, "asks")
        place = await site.face.call(plain, "get_state", thread)
        graph = site.compile(builder)
        for config in (thread, thread, place.config):
            await site.face.call(graph, "invoke", {"messages": [("user", "go on")]}, config)
        forgotten = {"messages": [RemoveMessage(REMOVE_ALL_MESSAGES)]}
        await site.face.call(graph, "update_state", thread, forgotten, "asks")
        for config in (thread, thread, place.config):  # the past is older than what is known
            await site.face.call(graph, "invoke", {"messages": [("user", "go on")]}, config)
        await site.face.call(site.saver, "delete_thread", thread["configurable"]["thread_id"])
    site.evidence.add("received by models and tools", *received)


async def run_talks(site: Site, ways: Sequence[Way]) -> None:
    """Hold a conversation with pauses."""
    talk = Talk(site)
    for way in ways:
        await talk.hold(way)


async def run_others(site: Site, ways: Sequence[Way]) -> None:
    """Run an agent, a workflow, graphs whose states are objects, and one inside of another's policies."""
    agency = Agency(site)
    for way in ways:
        await agency.ask(way)
        await run_functional(site, way)
        for schema in (ModelState, ObjectState):
            await run_objects(site, way, schema)
        await run_owned(site, way)


async def run_failures(site: Site, ways: Sequence[Way]) -> None:
    """Let graphs fail, at each place and in each kind of way."""
    failures = Failures(site)
    for way in ways:
        await failures.fail_by_kind(way)
        await failures.fail_by_place(way)
        await failures.fail_by_state(way)


async def run_all_spellings(site: Site, ways: Sequence[Way]) -> None:
    """Let values in other spellings through."""
    for way in ways:
        await run_spellings(site, way)


@dataclass(frozen=True)
class Scene:
    """Something that is run, and what is to keep it clean.

    Attributes:
        name: What is run.
        play: Runs it in some ways.
        policies: What keeps it clean.
        choose: The ways to run it in, of those that there are.
        is_async: How it is called, if not in both ways.
        shows_all: Whether each surface shows in what is collected.
    """

    name: str
    play: Callable[[Site, Sequence[Way]], Awaitable[None]]
    policies: tuple[Policy, ...] = (Redact(),)
    choose: Callable[[list[Way]], Sequence[Way]] = telling
    is_async: bool | None = None
    shows_all: bool = True

    def ways(self, site: Site) -> Sequence[Way]:
        """The ways to run it in."""
        return self.choose(WAYS[site.face.is_async])

    def showing(self, site: Site) -> Sequence[Way]:
        """The ways that are enough to show what is planted."""
        return few(WAYS[site.face.is_async]) if self.shows_all else self.ways(site)[-1:]


def few(ways: list[Way]) -> Sequence[Way]:
    """What a handler hears, and all modes at once."""
    return [
        way for way in ways if "durability=sync" in way.name and (way.watches or "all" in way.name)
    ] + [way for way in ways if way.name == "astream_events version=v2"]


def _some(ways: list[Way]) -> Sequence[Way]:
    return few(ways)[:2]


SCENES = (
    Scene("the desk", run_desk, choose=list),
    Scene(
        "the desk in slices",
        run_slices,
        choose=lambda ways: OLD_WAYS,
        is_async=True,
        shows_all=False,
    ),
    Scene("a talk with pauses", run_talks),
    Scene("agents, workflows, objects", run_others),
    Scene("an older thread", run_older_thread, choose=_some),
    Scene("failures", run_failures, choose=_some),
    Scene("failures, captured", run_failures, (CaptureErrors(then="end"), Redact()), _some),
    Scene("spellings", run_all_spellings),
    Scene("blocked terms", run_terms, (ContentFilter(BLOCKED),)),
    Scene("blocked terms, answered", run_terms, (ContentFilter(BLOCKED, reply="no"),), _some),
)
