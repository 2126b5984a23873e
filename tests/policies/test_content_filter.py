from __future__ import annotations

import traceback
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt
from tests.policies.conftest import THREAD, FakeModel, Runner, State, asks, notes, one, said, saved

from lg_prod_nodes import (
    ConfigurationError,
    ContentBlocked,
    ContentFilter,
    Redact,
    Run,
    as_node,
    guard,
    harden,
)

BOMB = "pipe bomb"
WEAPONS = {"weapons": [BOMB, "nerve agent"], "drugs": ["meth"]}
CANNOT = "I cannot help with that."


def user(text: str) -> dict[str, Any]:
    return {"messages": [("user", text)]}


async def test_refuses_an_input_before_its_first_checkpoint(run: Runner, model: FakeModel) -> None:
    saver = InMemorySaver()
    graph = harden(one(asks(model)), [ContentFilter(WEAPONS)]).compile(saver)

    with pytest.raises(ContentBlocked) as blocked:
        await run(graph, user(f"how to build a {BOMB} with meth"), THREAD)

    assert blocked.value.categories == ("DRUGS", "WEAPONS")
    assert blocked.value.policy == "ContentFilter"
    assert blocked.value.retry_after is None
    assert model.asked == []
    assert not saver.storage


@pytest.mark.parametrize(
    "result",
    [
        {"text": BOMB},
        {"messages": [("ai", BOMB)]},
        {"log": [{"deep": [BOMB]}]},
        Command(update={"text": BOMB}),
        Command(goto=Send("node", {"text": BOMB})),
    ],
    ids=repr,
)
async def test_refuses_what_a_node_returns(run: Runner, result: Any) -> None:
    saver = InMemorySaver()
    graph = harden(one(lambda state: result), [ContentFilter(WEAPONS)]).compile(saver)

    with pytest.raises(ContentBlocked):
        await run(graph, {"log": []}, THREAD)
    assert BOMB not in saved(saver)


async def test_answers_an_input_and_keeps_it_without_its_blocked_words(
    run: Runner, model: FakeModel
) -> None:
    saver = InMemorySaver()
    graph = harden(one(asks(model)), [ContentFilter(WEAPONS, reply=CANNOT)]).compile(saver)
    told = Run()

    refused = await run(graph, user(f"build a {BOMB}"), THREAD, control=told)
    later = await run(graph, user("then a cake"), THREAD)

    assert said(refused) == ["build a [WEAPONS]", CANNOT]
    assert said(later) == ["build a [WEAPONS]", CANNOT, "then a cake", "hello there"]
    assert told.report.outcome == "rejected"
    assert BOMB not in saved(saver)


async def test_answers_a_model_s_result_and_the_run_goes_on(run: Runner, model: FakeModel) -> None:
    model.says = f"take a {BOMB}"
    builder = one(asks(model)).add_node("after", notes("after")).add_edge("node", "after")
    graph = harden(builder, [ContentFilter(WEAPONS, reply=CANNOT)]).compile()
    told = Run()

    result = await run(graph, user("hi"), control=told)

    assert said(result) == ["hi", CANNOT]
    assert result["log"] == ["after"]
    assert told.report.outcome == "ok"
    assert told.report.found == {"WEAPONS": 1}


async def test_a_reply_may_be_an_update_of_the_state(run: Runner) -> None:
    def reply(blocked: ContentBlocked) -> dict[str, Any]:
        return {"log": [blocked.categories]}

    graph = harden(one(notes("ran")), [ContentFilter(WEAPONS, reply=reply)]).compile()

    assert (await run(graph, {"text": BOMB}))["log"] == [("WEAPONS",)]


async def test_refuses_updates_of_the_state_and_what_resumes_a_run(run: Runner) -> None:
    builder = one(lambda state: {"text": interrupt("how?")})
    content = ContentFilter(WEAPONS, reply=CANNOT)
    graph = harden(builder, [content]).compile(InMemorySaver())
    await run(graph, {"log": []}, THREAD)

    with pytest.raises(ContentBlocked):
        graph.update_state(THREAD, {"text": BOMB})
    with pytest.raises(ContentBlocked):
        await run(graph, Command(resume=BOMB), THREAD)

    assert (await run(graph, Command(resume="so"), THREAD))["text"] == "so"


async def test_reaches_into_subgraphs(run: Runner, model: FakeModel) -> None:
    model.says = BOMB
    graph = harden(one(one(asks(model)).compile()), [ContentFilter(WEAPONS)]).compile()

    with pytest.raises(ContentBlocked):
        await run(graph, user("hi"))


def test_each_way_that_is_sent_is_checked_alone() -> None:
    def work(state: State) -> Any:
        return {"log": [state["text"]]}

    builder = StateGraph(State).add_node("work", work)
    ways = [Send("work", {"text": text}) for text in ("cake", BOMB, "tea")]
    builder.add_conditional_edges(START, lambda state: ways, ["work"])
    content = ContentFilter(WEAPONS, reply=lambda blocked: {"log": ["blocked"]})

    result = harden(builder, nodes={"work": [content]}).compile().invoke({"log": []})

    assert result["log"] == ["cake", "blocked", "tea"]


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "PIPE BOMB",
        "a Pipe Bomb.",
        "(pipe bomb)",
        "pipe bomb\n",
        "\uff50\uff49\uff50\uff45 \uff22\uff2f\uff2d\uff22",  # full width
        "pipe\u00a0bomb",
        "pipe  bomb",
        "pipe\nbomb",
        "pipe\u00ad bomb",
        "pi\u200bpe bomb",
        "\ufb01 \uff50\uff49\uff50\uff45 bomb",  # beside a ligature
    ],
    ids=ascii,
)
def test_matches_whatever_the_case_or_width(text: str) -> None:
    with pytest.raises(ContentBlocked):
        guard(ContentFilter([BOMB]))(lambda state: text)({})


@pytest.mark.parametrize("text", ["pipe bombs", "bagpipe bomb", "pipe", "bomb pipe", "", "method"])
def test_matches_whole_words_alone(text: str) -> None:
    assert guard(ContentFilter([BOMB, "meth"]))(lambda state: text)({}) == text


@pytest.mark.parametrize("term", ["c++", "a.b", "$ref", "東京", "straße"])
def test_terms_are_taken_as_they_are_written(term: str) -> None:
    content = ContentFilter([term])

    with pytest.raises(ContentBlocked):
        guard(content)(lambda state: f"about {term} now")({})
    assert guard(content)(lambda state: "about axb ref now")({}) == "about axb ref now"


def test_a_term_may_be_one_character() -> None:
    with pytest.raises(ContentBlocked):
        guard(ContentFilter(["☠"]))(lambda state: {"text": "☠"})({})


@pytest.mark.parametrize("blocked", [{"bomb": [BOMB, "bomb"]}, ["blocked"]], ids=["own", "default"])
def test_a_category_may_be_named_like_its_term(blocked: Any) -> None:
    graph = harden(one(notes("ran")), [ContentFilter(blocked, reply=CANNOT)]).compile()

    assert said(graph.invoke(user("a bomb is blocked")))[-1] == CANNOT


def test_an_update_of_the_state_may_be_of_any_thread() -> None:
    graph = harden(one(notes("ran")), [ContentFilter(["meth"])]).compile(InMemorySaver())

    graph.update_state({"configurable": {"thread_id": "meth"}}, {"text": "x"}, as_node="node")


@pytest.mark.parametrize("at", ["run", "node"])
def test_no_error_holds_the_text(at: str) -> None:
    graph = harden(one(lambda state: {"text": f"a {BOMB}"}), [ContentFilter(WEAPONS)]).compile()

    with pytest.raises(ContentBlocked) as blocked:
        graph.invoke({"text": f"a {BOMB}" if at == "run" else "x"})

    assert BOMB not in repr(blocked.value) + "".join(traceback.format_exception(blocked.value))


def test_redacted_and_refused_together() -> None:
    policies = [Redact("EMAIL_ADDRESS"), ContentFilter(WEAPONS, reply=CANNOT)]
    saver = InMemorySaver()
    graph = harden(one(notes("ran")), policies).compile(saver)

    result = graph.invoke(user(f"ann@example.com wants a {BOMB}"), THREAD)

    assert said(result) == ["[EMAIL_ADDRESS] wants a [WEAPONS]", CANNOT]


def test_a_prebuilt_node_chooses_the_way() -> None:
    node = as_node(ContentFilter(WEAPONS, reply=CANNOT), then="go", otherwise="stop")
    builder = one(node).add_node("go", notes("went")).add_node("stop", notes("stopped"))
    graph = builder.compile()

    assert graph.invoke(user("cake"))["log"] == ["went"]
    assert graph.invoke(user(BOMB))["log"] == ["stopped"]


def test_a_reply_that_is_blocked_itself_is_refused_while_building() -> None:
    with pytest.raises(ConfigurationError):
        ContentFilter([BOMB], reply="I do not talk about a pipe bomb.")


@pytest.mark.parametrize(
    "blocked", ["bomb", [], {}, {"weapons": []}, [""], {"weapons": ["a", " "]}]
)
def test_nothing_to_block_is_refused_while_building(blocked: Any) -> None:
    with pytest.raises(ConfigurationError):
        ContentFilter(blocked)


# Terms that are replaced


async def test_a_replaced_term_lets_the_call_continue(run: Runner) -> None:
    model = FakeModel(says=f"no {BOMB} here")
    saver = InMemorySaver()
    filtering = ContentFilter(WEAPONS, replace="...")
    graph = harden(one(asks(model)), [filtering]).compile(saver)
    told = Run()

    result = await run(graph, user(f"a {BOMB} and meth"), THREAD, control=told)

    assert said(result) == ["a ... and ...", "no ... here"]
    assert model.asked == ["a ... and ..."]
    assert told.report.found == {"WEAPONS": 2, "DRUGS": 1}
    assert told.report.outcome == "ok"
    assert BOMB not in saved(saver)


def test_a_replaced_term_does_not_end_a_stream() -> None:
    model = FakeModel(says=f"take a {BOMB} and run")
    graph = harden(one(asks(model)), [ContentFilter(WEAPONS, replace="[removed]")]).compile()

    parts = graph.stream(user("hi"), stream_mode="messages")

    assert "".join(message.text for message, _ in parts) == "take a [removed] and run"


async def test_a_function_of_the_term_replaces_it(run: Runner) -> None:
    filtering = ContentFilter(["kill switch"], replace=lambda term: "*" * len(term))
    graph = harden(one(lambda state: {"text": "a Kill Switch"}), [filtering]).compile()

    assert (await run(graph, {"text": ""}))["text"] == "a ***********"


def test_what_a_function_returns_is_no_term_either() -> None:
    filtering = ContentFilter(["damn", "darn"], replace=lambda term: "darn")
    graph = harden(one(lambda state: {"text": "damn!"}), [filtering]).compile()

    assert graph.invoke({"text": ""})["text"] == "[BLOCKED]!"


def test_a_system_message_is_not_changed_by_a_replacing_filter() -> None:
    heard: list[str] = []

    class Hearing(FakeModel):
        def _generate(self, messages: Any, *args: Any, **options: Any) -> Any:
            heard.extend(message.text for message in messages)
            return super()._generate(messages, *args, **options)

    model = Hearing(says="ok")

    def ask(state: Any) -> Any:
        model.invoke([("system", f"never say {BOMB}"), *state["messages"]])

    harden(one(ask), [ContentFilter(WEAPONS, replace="...")]).compile().invoke(user(BOMB))

    assert heard == [f"never say {BOMB}", "..."]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"replace": f"a {BOMB}"}, "the replacement holds a blocked term"),
        ({"replace": "...", "reply": "No."}, "give one of them"),
    ],
)
def test_a_replacement_is_checked(settings: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        ContentFilter(WEAPONS, **settings)
