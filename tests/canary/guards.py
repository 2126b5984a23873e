"""Each guard of the library, how to take it out alone, and what then comes to light.

A guard is taken out by a patch for the length of a test. Where it stands in the library is said by a path, so a guard
that moves makes its test fail.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from tests.canary import scenes
from tests.canary.errors import Failures
from tests.canary.faces import Face
from tests.canary.site import Site
from tests.canary.terms import BLOCKED, run_terms
from tests.canary.ways import WAYS, Way

from lg_prod_nodes import ContentFilter, Redact
from lg_prod_nodes.policies.redact import Redact as _Redact
from lg_prod_nodes.policy import Policy

Patch = pytest.MonkeyPatch
Disable = Callable[[Patch], None]
Play = Callable[[Site, Sequence[Way]], Awaitable[None]]

_HOME = "lg_prod_nodes."


@dataclass(frozen=True)
class Guard:
    """One guard.

    Attributes:
        name: What it does.
        disable: Takes it out.
        play: What is run without it.
        ways: The ways in which that is run.
        shows: Beginnings of the surfaces of which something then comes to light, each of them.
        policies: Makes the policy whose guard it is.
        is_async: How graphs are called.
    """

    name: str
    disable: Disable
    play: Play
    ways: Sequence[str]
    shows: tuple[str, ...]
    policies: Callable[[], Policy] = Redact
    is_async: bool = False

    @property
    def face(self) -> Face:
        return Face(self.is_async)

    @property
    def chosen(self) -> list[Way]:
        """The ways, of which each is named by how its name begins."""
        return [
            next(way for way in WAYS[self.is_async] if way.name.startswith(begins))
            for begins in self.ways
        ]


def same(value: Any, *args: Any, **kwargs: Any) -> Any:
    return value


def nothing(*args: Any, **kwargs: Any) -> Any:
    return nullcontext()


def put(path: str, instead: Any) -> Disable:
    """Have something else in a place of the library."""
    return lambda patch: patch.setattr(_HOME + path, instead)


def _input_of(kind: str) -> Disable:
    """`Redact` does not clean what such a call is called with."""

    def disable(patch: Patch) -> None:
        native = _Redact._cleaned_input

        async def cleaned(self: Any, call: Any, *args: Any) -> Any:
            return call.input if call.kind == kind else await native(self, call, *args)

        patch.setattr(_Redact, "_cleaned_input", cleaned)

    return disable


def _result_of(kind: str) -> Disable:
    """`Redact` does not clean what such a call gives."""

    def disable(patch: Patch) -> None:
        native = _Redact._clean

        async def clean(self: Any, call: Any, replacer: Any, tokens: Any, value: Any) -> Any:
            if call.kind == kind and value is not call.input:
                return value
            return await native(self, call, replacer, tokens, value)

        patch.setattr(_Redact, "_clean", clean)

    return disable


def _fields_without(name: str) -> Disable:
    def disable(patch: Patch) -> None:
        from lg_prod_nodes import content

        left = tuple(field for field in content._MESSAGE_FIELDS if field != name)
        patch.setattr(content, "_MESSAGE_FIELDS", left)

    return disable


class RawWriter:
    """Lets payloads pass as they are."""

    def __init__(self, write: Any, *args: Any) -> None:
        self._write = write

    def __call__(self, payload: Any) -> None:
        self._write(payload)

    def flush(self) -> None:
        """Nothing waits."""


def _unreached_graphs(patch: Patch) -> None:
    from lg_prod_nodes import policy

    place = policy.Place
    patch.setattr(policy, "Place", lambda call, **kw: place(call, **{**kw, "content": ()}))


def _unreached_subgraphs(patch: Patch) -> None:
    _subgraph_as_it_is(patch)
    _unreached_graphs(patch)


def _raw_payload_pieces(patch: Patch) -> None:
    def whole(self: Any, payload: Any) -> None:
        from lg_prod_nodes.content import rewrite

        self._write(rewrite(payload, self._change))

    patch.setattr("lg_prod_nodes.payloads.PayloadStream.__call__", whole)


def _raw_events(patch: Patch) -> None:
    def events(events: Any, graph: Any, input: Any, config: Any, kwargs: Any) -> Any:
        return events(graph, input, config, **kwargs)

    patch.setattr("lg_prod_nodes._boundary.filtered_events", events)


def _raw_model_pieces(patch: Patch) -> None:
    patch.setattr("lg_prod_nodes.streams.MessageStream.feed", lambda self, chunk: [chunk])
    patch.setattr("lg_prod_nodes.streams.MessageStream.flush", lambda self: [])


def _raw_in_a_thread(patch: Patch) -> None:
    from lg_prod_nodes._models import _Told

    native = _Told._filtered

    def filtered(self: Any, manager: Any) -> Any:
        made = native(self, manager)
        vars(made).pop("get_sync", None)
        return made

    patch.setattr(_Told, "_filtered", filtered)


def _raw_task(patch: Patch) -> None:
    def guarded(function: Any, given: Any, call: Any) -> Any:
        return function, given

    patch.setattr("lg_prod_nodes._exits._guarded_task", guarded)


def _raw_function(patch: Patch, module: str) -> None:
    from lg_prod_nodes._functions import adapted

    def unfiltered(function: Any, call: Any, **adaptions: Any) -> Any:
        adaptions.pop("after", None)
        return adapted(function, **adaptions)

    patch.setattr(f"lg_prod_nodes.{module}.filtered_function", unfiltered)


def _trusting_all(patch: Patch) -> None:
    patch.setattr("lg_prod_nodes.trust.Trust.holds", lambda self, call, policy: call.kind == "node")


def _trusting_early(patch: Patch) -> None:
    """A node's place counts as clean though something was found in its input."""
    from lg_prod_nodes.trust import Trust

    native = Trust.note

    def note(self: Any, call: Any, policy: Any, cleaned: Any) -> None:
        native(self, call, policy, call.input)

    patch.setattr(Trust, "note", note)


def _trusting_the_past(patch: Patch) -> None:
    """A run from an earlier checkpoint counts as guarded."""
    from lg_prod_nodes.trust import Trust

    native = Trust.note

    def note(self: Any, call: Any, policy: Any, cleaned: Any) -> None:
        native(self, call.replace(config={}) if call.kind == "run" else call, policy, cleaned)

    patch.setattr(Trust, "note", note)


def _settling_at_once(patch: Patch) -> None:
    patch.setattr("lg_prod_nodes.settling.EntityReach.settled", lambda self, text: len(text))


def _branch_as_it_is(patch: Patch) -> None:
    patch.setattr("lg_prod_nodes.graphs.guarded_branch", lambda branch, *args: branch)


def _subgraph_as_it_is(patch: Patch) -> None:
    patch.setattr("lg_prod_nodes.graphs._subgraph", lambda graph, *args: graph)


def desk(*parts: str) -> Play:
    """Parts of the desk."""

    async def play(site: Site, ways: Sequence[Way]) -> None:
        await scenes.run_desk(site, ways, *parts)

    return play


def failing(*kinds: str) -> Play:
    """Graphs that fail: a node in some kinds of way, or at each place."""

    async def play(site: Site, ways: Sequence[Way]) -> None:
        failures = Failures(site)
        for way in ways:
            if kinds:
                await failures.fail_by_kind(way, *kinds)
            else:
                await failures.fail_by_place(way)

    return play


async def terms(site: Site, ways: Sequence[Way]) -> None:
    await run_terms(site, list(ways))


INVOKE, AINVOKE = ("invoke durability=sync",), ("ainvoke durability=sync",)
MESSAGES, CUSTOM, ALL = (
    ("stream stream_mode=messages",),
    ("stream stream_mode=custom",),
    ("stream stream_mode=all subgraphs=True version=v1",),
)
V2, V3 = ("astream_events version=v2",), ("stream_events version=v3",)


def _guards() -> list[Guard]:
    guard = Guard
    term = partial(Guard, policies=lambda: ContentFilter(BLOCKED), play=terms)
    return [
        # Where calls begin and end
        guard(
            "run input",
            _input_of("run"),
            desk("lists"),
            INVOKE,
            ("input: plain text", "input: message tuple"),
        ),
        guard(
            "resume values",
            _input_of("run"),
            scenes.run_talks,
            INVOKE,
            ("resume: value", "resume: by id"),
        ),
        guard(
            "updates of state",
            _input_of("update"),
            scenes.run_talks,
            INVOKE,
            ("update_state", "bulk_update_state", "fork"),
        ),
        guard("node input", _input_of("node"), scenes.run_older_thread, INVOKE, ("older thread",)),
        guard(
            "model input",
            _input_of("model"),
            desk("chats"),
            INVOKE,
            ("model input: system", "model input: further"),
        ),
        guard(
            "tool input", _input_of("tool"), desk("calls_a_tool"), INVOKE, ("called tool: args",)
        ),
        guard(
            "node results",
            _result_of("node"),
            desk("returns_messages", "writes", "lists"),
            INVOKE,
            ("node result: text", "node result: list of updates", "node result: dataclass"),
        ),
        guard(
            "node results, read as streams",
            put("policy.Stack.changes", lambda self, kind: False),
            desk("lists"),
            V2,
            ("node result: list of updates",),
            is_async=True,
        ),
        guard(
            "subgraphs, as nodes and called",
            _unreached_subgraphs,
            desk("child"),
            ALL,
            ("subgraph: node result", "subgraph: custom stream"),
        ),
        guard(
            "graphs called in nodes",
            _unreached_graphs,
            desk("calls_graph", "calls_agent"),
            INVOKE,
            ("called graph: input", "called agent: input", "called graph: node result"),
        ),
        guard(
            "tasks",
            _raw_task,
            desk("calls_tasks"),
            ("stream stream_mode=tasks",),
            ("task: argument", "task: result"),
        ),
        guard(
            "configuration of a run",
            put("_settings.rewrite", same),
            desk("lists"),
            (*INVOKE, *ALL),
            (
                "config: metadata",
                "config: configurable [",
                "config: deep configurable",
                "config: tag",
                "config: run_name",
            ),
        ),
        guard(
            "configuration of an update",
            put("_settings.rewrite", same),
            scenes.run_talks,
            INVOKE,
            ("update_state: metadata",),
        ),
        # Trust
        guard(
            "trust only what was searched",
            _trusting_all,
            scenes.run_older_thread,
            INVOKE,
            ("older thread",),
        ),
        guard(
            "trust only where nothing was found",
            _trusting_early,
            scenes.run_older_thread,
            INVOKE,
            ("older thread",),
        ),
        guard(
            "no trust in an earlier checkpoint",
            _trusting_the_past,
            scenes.run_older_thread,
            INVOKE,
            ("older thread",),
        ),
        # Models
        guard(
            "model stream",
            _raw_model_pieces,
            desk("chats", "asks_blocks", "asks_arguments"),
            MESSAGES,
            ("model output: text", "model output: reasoning", "model output: tool_call_chunks"),
        ),
        guard(
            "model stream, held back",
            _settling_at_once,
            desk("chats"),
            MESSAGES,
            ("model output: text",),
        ),
        guard(
            "model events",
            put("streams.EventStream.feed", lambda self, event: [event]),
            desk("asks_native"),
            V3,
            ("model output: native text", "model output: native reasoning"),
        ),
        guard(
            "model results at once",
            put("_models._filtered_result", same),
            desk("asks_whole"),
            MESSAGES,
            (
                "model output: at once",
                "model output: args at once",
                "model output: response_metadata",
            ),
        ),
        guard(
            "tokens that a model tells",
            put("_models._telling", same),
            desk("asks_whole_teller"),
            MESSAGES,
            ("model output: told by itself, at once",),
        ),
        guard(
            "tokens that a model tells, in a thread",
            _raw_in_a_thread,
            desk("asks_whole_teller"),
            ("astream stream_mode=messages",),
            ("model output: told by itself, at once",),
            is_async=True,
        ),
        guard(
            "cached answers of models",
            put("_models._filtered_generation", same),
            desk("remembers_answers"),
            MESSAGES,
            ("cached model: older output",),
        ),
        # Tools
        guard(
            "tool results",
            partial(_raw_function, module="_tools"),
            desk("tools"),
            INVOKE,
            ("tool: result", "tool: artifact"),
        ),
        guard(
            "tool output",
            put("_tools._tool_output", nothing),
            desk("tools"),
            ("stream stream_mode=tools",),
            ("tool: output delta", "tool: output delta token by token"),
        ),
        # Ways out
        guard(
            "custom stream",
            put("_exits.PayloadStream", RawWriter),
            desk("writes"),
            CUSTOM,
            ("custom stream: text", "custom stream: dict", "custom stream: message"),
        ),
        guard(
            "custom stream in pieces",
            _raw_payload_pieces,
            desk("writes"),
            CUSTOM,
            ("custom stream: token by token", "custom stream: dicts token by token"),
        ),
        guard(
            "store",
            put("_exits.rewrite", same),
            desk("keeps"),
            INVOKE,
            ("store: put", "store: batch", "store: key of value"),
        ),
        guard(
            "store, batches",
            put("_exits._filtered", same),
            desk("keeps"),
            INVOKE,
            ("store: batch",),
        ),
        guard(
            "edges",
            _branch_as_it_is,
            desk("lists", "writes"),
            ALL,
            ("Send: from a node's edge", "edge: store", "edge: model output"),
        ),
        guard(
            "Sends of edges",
            put("_node.rewrite_sends", same),
            desk("writes", "tools"),
            INVOKE,
            ("Send: from a node's edge", "Send: from START's edge"),
        ),
        guard(
            "events of callbacks",
            _raw_events,
            desk("dispatches", "retrieves"),
            V2,
            ("custom event: dict", "retriever: document"),
            is_async=True,
        ),
        guard(
            "events in pieces",
            put("_events._Pieces._is_piece", lambda self, event: False),
            desk("dispatches", "chains"),
            V2,
            ("custom event: token by token", "chain in a node: streamed pieces"),
            is_async=True,
        ),
        # The walk
        guard(
            "keys of dicts",
            put("content._Walk._key", lambda self, name: name),
            desk("returns_messages"),
            INVOKE,
            ("input: dict key", "node result: dict key"),
        ),
        guard(
            "integers",
            put("content._Walk._number", lambda self, number, key: number),
            desk("lists"),
            INVOKE,
            ("input: big integer", "input: integer in a dict"),
        ),
        guard(
            "numbers under their keys",
            put("content._Walk._under", lambda self, key, text: self._change(text)),
            desk("lists"),
            INVOKE,
            ("input: number under its key",),
        ),
        guard(
            "neighbouring blocks",
            put("content._neighbours", lambda blocks: iter(())),
            desk("lists"),
            INVOKE,
            ("input: neighbouring blocks",),
        ),
        guard(
            "objects",
            put("content._Walk._replaced", lambda self, value, changed: value),
            desk("commands"),
            INVOKE,
            ("input: dataclass value",),
        ),
        guard(
            "commands",
            put("content._Walk._command", lambda self, command: command),
            desk("commands"),
            INVOKE,
            ("Command: update", "Command: Send"),
        ),
        *(
            guard(
                f"messages: {name}",
                _fields_without(name),
                desk("lists"),
                INVOKE,
                (f"input: {shown}",),
            )
            for name, shown in (
                ("content", "message object"),
                ("name", "message name"),
                ("additional_kwargs", "additional_kwargs"),
                ("response_metadata", "response_metadata"),
                ("tool_calls", "tool-call args"),
                ("invalid_tool_calls", "invalid tool call"),
                ("artifact", "artifact"),
            )
        ),
        guard(
            "values as they are read",
            put("detectors._views.folded", lambda text: None),
            scenes.run_all_spellings,
            INVOKE,
            ("input, zero width", "model output, full width", "node result, percent"),
            lambda: Redact(context=["canary"]),
        ),
        # Errors
        guard(
            "errors",
            put("policies.redact.cleaned_errors", nothing),
            failing("plain"),
            INVOKE,
            ("error: of a node, plain",),
        ),
        guard(
            "errors at each place",
            put("policies.redact.cleaned_errors", nothing),
            failing(),
            INVOKE,
            (
                "error: in edge",
                "error: in edge from start",
                "error: in subgraph",
                "error: in error handler",
            ),
        ),
        guard(
            "interrupts",
            put("policies.redact.cleaned_errors", nothing),
            scenes.run_talks,
            INVOKE,
            ("interrupt: payload", "interrupt in a subgraph"),
        ),
        guard(
            "errors of models and tools",
            put("_functions.cleaned_errors", nothing),
            failing(),
            INVOKE,
            ("error: in model", "error: in tool", "error: in task"),
        ),
        guard(
            "errors of models that stream",
            put("_models.cleaned_errors", nothing),
            failing(),
            INVOKE,
            ("error: while streaming",),
        ),
        guard(
            "errors of pydantic",
            put("_failures._validation_error", same),
            failing("of_pydantic", "of_a_validator"),
            INVOKE,
            ("error: of a node, of_pydantic", "error: of a node, of_a_validator"),
        ),
        guard(
            "texts that errors make",
            put("_failures._clean_text", same),
            failing("of_a_text_of_its_class"),
            INVOKE,
            ("error: of a node",),
        ),
        guard(
            "attributes of errors",
            put("_failures._names", lambda error: iter(("args",))),
            failing("of_an_attribute", "of_a_slot", "of_a_frozen_one"),
            INVOKE,
            ("error: of a node, of_an_attribute",),
        ),
        guard(
            "bytes of errors",
            put("_failures._clean_bytes", same),
            failing("of_decoding"),
            INVOKE,
            ("error: of a node, of_decoding",),
        ),
        # Blocked terms
        term(
            "terms: input and result",
            lambda patch: patch.setattr(ContentFilter, "_found", lambda self, value: {}),
            ways=INVOKE,
            shows=("in a result",),
        ),
        term(
            "terms: errors",
            put("policies.content_filter.cleaned_errors", nothing),
            ways=INVOKE,
            shows=("in an error", "in an interrupt"),
        ),
        term(
            "terms: held back",
            put("settling.TermReach.settled", lambda self, text: len(text)),
            ways=ALL,
            shows=("in text of model",),
        ),
        term(
            "terms: pieces that open one",
            put("payloads.PayloadStream._opens", lambda self, text: False),
            ways=ALL,
            shows=("in the custom stream",),
        ),
    ]


GUARDS = _guards()
