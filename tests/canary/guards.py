"""Each guard of the library, how to take it out alone, and what then comes to light."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.canary import scenes
from tests.canary.disabling import (
    Disable,
    RawWriter,
    branch_as_it_is,
    fields_without,
    input_of,
    nothing,
    patch_by_patch,
    put,
    raw_events,
    raw_function,
    raw_in_a_thread,
    raw_model_pieces,
    raw_payload_pieces,
    raw_task,
    result_of,
    same,
    settling_at_once,
    trusting_all,
    trusting_early,
    trusting_the_past,
    unreached_graphs,
    unreached_subgraphs,
)
from tests.canary.errors import Failures
from tests.canary.faces import Face
from tests.canary.site import Site
from tests.canary.terms import BLOCKED, run_terms
from tests.canary.ways import OLD_WAYS, WAYS, Way

from lg_prod_nodes import ContentFilter, Redact
from lg_prod_nodes.core.policy import Policy

Play = Callable[[Site, Sequence[Way]], Awaitable[None]]


async def finds_nothing(self: ContentFilter, call: Any, value: Any) -> dict[str, int]:
    return {}


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
            next(way for way in (*WAYS[self.is_async], *OLD_WAYS) if way.name.startswith(begins))
            for begins in self.ways
        ]


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


INVOKE = ("invoke durability=sync",)
MESSAGES = ("stream stream_mode=messages",)
CUSTOM = ("stream stream_mode=custom",)
ALL = ("stream stream_mode=all subgraphs=True version=v1",)
V2 = ("astream_events version=v2",)
V3 = ("stream_events version=v3",)
LOG = ("astream_log",)


def _guards() -> list[Guard]:
    term = partial(Guard, policies=lambda: ContentFilter(BLOCKED), play=terms)
    return [
        # Where calls begin and end
        Guard(
            "run input",
            input_of("run"),
            desk("lists"),
            INVOKE,
            ("input: plain text", "input: message tuple"),
        ),
        Guard(
            "resume values",
            input_of("run"),
            scenes.run_talks,
            INVOKE,
            ("resume: value", "resume: by id"),
        ),
        Guard(
            "updates of state",
            input_of("update"),
            scenes.run_talks,
            INVOKE,
            ("update_state", "bulk_update_state", "fork"),
        ),
        Guard("node input", input_of("node"), scenes.run_older_thread, INVOKE, ("older thread",)),
        Guard(
            "model input",
            input_of("model"),
            desk("chats"),
            INVOKE,
            ("model input: system", "model input: further"),
        ),
        Guard("tool input", input_of("tool"), desk("calls_a_tool"), INVOKE, ("called tool: args",)),
        Guard(
            "node results",
            result_of("node"),
            desk("returns_messages", "writes", "lists"),
            INVOKE,
            ("node result: text", "node result: list of updates", "node result: dataclass"),
        ),
        Guard(
            "node results, read as streams",
            put("runtime.placement.Stack.changes", lambda self, kind: False),
            desk("lists"),
            V2,
            ("node result: list of updates",),
            is_async=True,
        ),
        Guard(
            "subgraphs, as nodes and called",
            unreached_subgraphs,
            desk("child"),
            ALL,
            ("subgraph: node result", "subgraph: custom stream"),
        ),
        Guard(
            "graphs called in nodes",
            unreached_graphs,
            desk("calls_graph", "calls_agent"),
            INVOKE,
            ("called graph: input", "called agent: input", "called graph: node result"),
        ),
        Guard(
            "tasks",
            raw_task,
            desk("calls_tasks"),
            ("stream stream_mode=tasks",),
            ("task: argument", "task: result"),
        ),
        Guard(
            "configuration of a run",
            put("content.config.rewrite", same),
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
        Guard(
            "configuration of an update",
            put("content.config.rewrite", same),
            scenes.run_talks,
            INVOKE,
            ("update_state: metadata",),
        ),
        # Trust
        Guard(
            "trust only what was searched",
            trusting_all,
            scenes.run_older_thread,
            INVOKE,
            ("older thread",),
        ),
        Guard(
            "trust only where nothing was found",
            trusting_early,
            scenes.run_older_thread,
            INVOKE,
            ("older thread",),
        ),
        Guard(
            "no trust in an earlier checkpoint",
            trusting_the_past,
            scenes.run_older_thread,
            INVOKE,
            ("older thread",),
        ),
        # Models
        Guard(
            "model stream",
            raw_model_pieces,
            desk("chats", "asks_blocks", "asks_arguments"),
            MESSAGES,
            ("model output: text", "model output: reasoning", "model output: tool_call_chunks"),
        ),
        Guard(
            "model stream, held back",
            settling_at_once,
            desk("chats"),
            MESSAGES,
            ("model output: text",),
        ),
        Guard(
            "model stream, over blocks",
            put("content.block_stream._Joined.goes_across", lambda self, rest: False),
            desk("asks_blocks"),
            MESSAGES,
            ("model output: neighbouring blocks",),
        ),
        Guard(
            "model events",
            put("content.message_stream.EventStream.feed", lambda self, event: [event]),
            desk("asks_native"),
            V3,
            ("model output: native text", "model output: native reasoning"),
        ),
        Guard(
            "model results at once",
            put("runtime.model_shell._filtered_result", same),
            desk("asks_whole"),
            MESSAGES,
            (
                "model output: at once",
                "model output: args at once",
                "model output: response_metadata",
            ),
        ),
        Guard(
            "results of models of texts",
            put("runtime.model_shell._filtered_result", same),
            desk("completes"),
            INVOKE,
            ("completion: output",),
        ),
        Guard(
            "pieces of models of texts",
            put("runtime.model_shell._Texts.feed", lambda self, chunk: [chunk]),
            desk("completes"),
            INVOKE,
            ("completion: pieces",),
        ),
        Guard(
            "what models of texts are asked",
            input_of("model"),
            desk("completes"),
            INVOKE,
            ("completion: input",),
        ),
        Guard(
            "tokens that a model tells",
            put("runtime.model_shell._telling", same),
            desk("asks_whole_teller"),
            MESSAGES,
            ("model output: told by itself, at once",),
        ),
        Guard(
            "tokens that a model tells, in a thread",
            raw_in_a_thread,
            desk("asks_whole_teller"),
            ("astream stream_mode=messages",),
            ("model output: told by itself, at once",),
            is_async=True,
        ),
        Guard(
            "cached answers of models",
            put("runtime.model_shell._filtered_generation", same),
            desk("remembers_answers"),
            MESSAGES,
            ("cached model: older output",),
        ),
        # Tools
        Guard(
            "tool results",
            partial(raw_function, module="runtime.model_shell"),
            desk("tools"),
            INVOKE,
            ("tool: result", "tool: artifact"),
        ),
        Guard(
            "tool output",
            put("runtime.tools._output", nothing),
            desk("tools"),
            ("stream stream_mode=tools",),
            ("tool: output delta", "tool: output delta token by token"),
        ),
        # Ways out
        Guard(
            "custom stream",
            put("runtime.scope.PayloadStream", RawWriter),
            desk("writes"),
            CUSTOM,
            ("custom stream: text", "custom stream: dict", "custom stream: message"),
        ),
        Guard(
            "custom stream in pieces",
            raw_payload_pieces,
            desk("writes"),
            CUSTOM,
            ("custom stream: token by token", "custom stream: dicts token by token"),
        ),
        Guard(
            "store",
            put("runtime.stores.FilteredStore._rewritten", lambda self, value: value),
            desk("keeps"),
            INVOKE,
            ("store: put", "store: batch", "store: key of value"),
        ),
        Guard(
            "store, batches",
            put("runtime.stores.FilteredStore._filtered", lambda self, op: op),
            desk("keeps"),
            INVOKE,
            ("store: batch",),
        ),
        Guard(
            "edges",
            branch_as_it_is,
            desk("lists", "writes"),
            ALL,
            ("Send: from a node's edge", "edge: store", "edge: model output"),
        ),
        Guard(
            "Sends of edges",
            put("runtime.node.rewrite_sends", same),
            desk("writes", "tools"),
            INVOKE,
            ("Send: from a node's edge", "Send: from START's edge"),
        ),
        Guard(
            "events of callbacks",
            raw_events,
            desk("dispatches"),
            V2,
            ("custom event: dict",),
            is_async=True,
        ),
        Guard(
            "documents of retrievers",
            put("runtime.tools._INNERMOST", ()),
            desk("retrieves"),
            INVOKE,
            ("retriever: document",),
        ),
        Guard(
            "events in pieces",
            put("runtime.events._is_piece", lambda event: False),
            desk("dispatches", "chains"),
            V2,
            ("custom event: token by token", "chain in a node: streamed pieces"),
            is_async=True,
        ),
        Guard(
            "patches of a log in pieces",
            put("runtime.events._Log._patches", patch_by_patch),
            desk("chains"),
            LOG,
            ("chain in a node: streamed pieces",),
            is_async=True,
        ),
        # The walk
        Guard(
            "keys of dicts",
            put("content.walker.Walker._key", lambda self, name: name),
            desk("returns_messages"),
            INVOKE,
            ("input: dict key", "node result: dict key"),
        ),
        Guard(
            "integers",
            put("content.walker.Walker._number", lambda self, number, keys: number),
            desk("lists"),
            INVOKE,
            ("input: big integer", "input: integer in a dict"),
        ),
        Guard(
            "numbers under their keys",
            put("content.walk._after", lambda change, before, text: text),
            desk("lists"),
            INVOKE,
            ("input: number under its key",),
        ),
        Guard(
            "neighbouring blocks",
            put("content.walker.neighbours", lambda blocks: iter(())),
            desk("lists"),
            INVOKE,
            ("input: neighbouring blocks",),
        ),
        Guard(
            "objects",
            put("content.walker.replaced", lambda value, changed: value),
            desk("commands"),
            INVOKE,
            ("input: dataclass value",),
        ),
        Guard(
            "commands",
            put("content.walker.Walker._command", lambda self, command, keys: command),
            desk("commands"),
            INVOKE,
            ("Command: update", "Command: Send"),
        ),
        *(
            Guard(
                f"messages: {name}",
                fields_without(name),
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
        Guard(
            "values as they are read",
            put("detectors.reading.views.folded", lambda text: None),
            scenes.run_all_spellings,
            INVOKE,
            ("input, zero width", "model output, full width", "node result, percent"),
            lambda: Redact(context=["canary"]),
        ),
        # Errors
        Guard(
            "errors",
            put("policies.redact.cleaned_errors", nothing),
            failing("plain"),
            INVOKE,
            ("error: of a node, plain",),
        ),
        Guard(
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
        Guard(
            "interrupts",
            put("policies.redact.cleaned_errors", nothing),
            scenes.run_talks,
            INVOKE,
            ("interrupt: payload", "interrupt in a subgraph"),
        ),
        Guard(
            "errors of models and tools",
            put("content.functions.cleaned_errors", nothing),
            failing(),
            INVOKE,
            ("error: in model", "error: in tool", "error: in task"),
        ),
        Guard(
            "errors of models that stream",
            put("runtime.model_shell.cleaned_errors", nothing),
            failing(),
            INVOKE,
            ("error: while streaming",),
        ),
        Guard(
            "errors of pydantic",
            put("content.exceptions._validation_error", same),
            failing("of_pydantic", "of_a_validator"),
            INVOKE,
            ("error: of a node, of_pydantic", "error: of a node, of_a_validator"),
        ),
        Guard(
            "texts that errors make",
            put("content.exceptions._clean_text", same),
            failing("of_a_text_of_its_class"),
            INVOKE,
            ("error: of a node",),
        ),
        Guard(
            "attributes of errors",
            put("content.exceptions._names", lambda error: iter(("args",))),
            failing("of_an_attribute", "of_a_slot", "of_a_frozen_one"),
            INVOKE,
            ("error: of a node, of_an_attribute",),
        ),
        Guard(
            "bytes of errors",
            put("content.walker.Walker._bytes", lambda self, data, keys: data),
            failing("of_decoding"),
            INVOKE,
            ("error: of a node, of_decoding",),
        ),
        # Blocked terms
        term(
            "terms: input and result",
            lambda patch: patch.setattr(ContentFilter, "_found", finds_nothing),
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
            put("content.finality.TermReach.settled", lambda self, text: len(text)),
            ways=ALL,
            shows=("in text of model",),
        ),
        term(
            "terms: pieces that open one",
            put("content.payload_stream.PayloadStream._opens", lambda self, text: False),
            ways=ALL,
            shows=("in the custom stream",),
        ),
    ]


GUARDS = _guards()
