"""One table of shapes through every rule set of the walk: state, streams, exceptions, logs, the fields of a state."""

from __future__ import annotations

import collections
import enum
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.types import Command, Interrupt, Overwrite, Send
from pydantic import BaseModel

from lg_prod_nodes import ConfigurationError, DetectionFailed, Redact, as_node
from lg_prod_nodes.content.payload_stream import PayloadStream
from lg_prod_nodes.content.walk import cleaned_errors, rewrite
from lg_prod_nodes.service.log_values import LogValues

EMAIL, CARD = "ann@example.com", 4111111111111111
REDACT = Redact("EMAIL_ADDRESS", "CREDIT_CARD", "SECRET")


class Model(BaseModel):
    text: Any = None


class Open(Model, extra="allow"): ...


@dataclass
class Data:
    text: Any = None


@dataclass(frozen=True, slots=True)
class Slotted:
    text: Any = None


class Pair(NamedTuple):
    first: Any
    second: int = 2


class Word(enum.StrEnum):
    MAIL = EMAIL


class SlotError(Exception):
    __slots__ = ("text",)

    def __init__(self, text: Any) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"SlotError({self.text!r})"


def in_itself(value: Any) -> dict[str, Any]:
    held: dict[str, Any] = {"deep": [], "text": value}
    held["me"] = held
    held["deep"].append((held, {"again": held}))
    return held


def in_its_list(value: Any) -> list[Any]:
    held: list[Any] = [value]
    held.insert(0, held)
    return held


def in_its_object(value: Any) -> Model:
    held = Model(text=[value])
    held.text.append(held)
    return held


def in_its_tuple(value: Any) -> tuple[Any, ...]:
    inner: list[Any] = [value]
    held = (inner,)
    inner.append(held)
    return held


SHAPES: dict[str, Callable[[Any], Any]] = {
    "itself": lambda value: value,
    "bytes": lambda value: str(value).encode(),
    "bytearray": lambda value: bytearray(str(value).encode()),
    "list": lambda value: [1, [value]],
    "tuple": lambda value: (1, (value,)),
    "named tuple": Pair,
    "set": lambda value: {value},
    "frozen set": lambda value: frozenset({value}),
    "deque": lambda value: collections.deque([value], maxlen=3),
    "mapping": lambda value: MappingProxyType({"a": value}),
    "mapping with a default": lambda value: collections.defaultdict(list, {"a": [value]}),
    "key": lambda value: {value: 1},
    "tuple key": lambda value: {(value, 1): 1},
    "key of bytes": lambda value: {str(value).encode(): 1},
    "pydantic model": lambda value: Model(text=[value]),
    "further field of a model": lambda value: Open(further=value),
    "dataclass": lambda value: Data([value]),
    "dataclass with slots": lambda value: [Slotted(value)],
    "document": lambda value: Document("", metadata={"source": value}),
    "message": lambda value: HumanMessage(str(value)),
    "tool call": lambda value: AIMessage(
        "", tool_calls=[{"name": "send", "args": {"to": value}, "id": "1"}]
    ),
    "artifact": lambda value: ToolMessage("", tool_call_id="1", artifact={"found": [value]}),
    "command": lambda value: Command(update={"a": [Send("node", value)]}, resume=value),
    "command that sends": lambda value: Command(goto=[Send("node", Command(update=[value]))]),
    "interrupt": lambda value: Interrupt({"ask": value}),
    "overwrite": lambda value: Overwrite([value]),
    "exception": lambda value: {"error": ValueError(value)},
    "exception with slots": lambda value: [SlotError(value)],
    "mapping in itself": in_itself,
    "list in itself": in_its_list,
    "model in itself": in_its_object,
    "tuple in itself": in_its_tuple,
}


def through_values(value: Any) -> Any:
    return rewrite(value, REDACT.replacer().change)


def through_stream(value: Any) -> Any:
    left: list[Any] = []
    stream = PayloadStream(left.append, (REDACT.replacer(),))
    stream(value)
    stream.flush()
    return left


def through_exception(value: Any) -> Any:
    error = SlotError(value)
    error.add_note(f"note of {value!r}")
    with pytest.raises(SlotError) as raised, cleaned_errors(REDACT.replacer().change):
        raise error from ValueError(value)
    return (raised.value.text, raised.value, str(raised.value), raised.value.__cause__)


def through_log(value: Any) -> Any:
    return LogValues(REDACT.replacer().change)(None, "info", {"value": value})


def through_node(value: Any) -> Any:
    state = Open(field=value)
    update = as_node(REDACT)(state)
    return update if update is not None else state  # an exception is cleaned in place


RULE_SETS = {
    "values": through_values,
    "payloads": through_stream,
    "exceptions": through_exception,
    "logs": through_log,
    "fields of a state": through_node,
}


def shown(value: Any, depth: int = 12, seen: tuple[int, ...] = ()) -> str:
    """All that a value holds, also in parts that its `repr` leaves out."""
    if depth == 0:
        return ""
    parts = [repr(value)]
    if isinstance(value, dict | MappingProxyType):
        parts += [shown(part, depth - 1) for item in value.items() for part in item]
    elif isinstance(value, list | tuple | set | frozenset | collections.deque):
        parts += [shown(part, depth - 1) for part in value]
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        parts += [shown(part, depth - 1) for part in vars(value).values()]
    return "".join(parts)


@pytest.mark.parametrize("through", RULE_SETS.values(), ids=RULE_SETS)
@pytest.mark.parametrize("planted", [EMAIL, CARD, Word.MAIL], ids=repr)
@pytest.mark.parametrize("make", SHAPES.values(), ids=SHAPES)
def test_each_shape_is_clean_after_each_rule_set(make: Any, planted: Any, through: Any) -> None:
    value = make(planted)
    assert str(planted) in shown(value) or isinstance(planted, Word)

    left = shown(through(value))

    assert EMAIL not in left
    assert str(CARD) not in left
    assert "[EMAIL_ADDRESS]" in left or "[CREDIT_CARD]" in left


@pytest.mark.parametrize(
    "make",
    [make for name, make in SHAPES.items() if "key" not in name and "exception" not in name],
    ids=[name for name in SHAPES if "key" not in name and "exception" not in name],
)
def test_what_is_written_in_pieces_is_clean_in_each_shape(make: Any) -> None:
    left: list[Any] = []
    stream = PayloadStream(left.append, (REDACT.replacer(),))

    for piece in ("to ann@exam", "ple.com now"):
        stream(make(piece))
    stream.flush()

    assert "to [EMAIL_ADDRESS] now" in shown(left)
    assert "ple.com" not in shown(left)


@pytest.mark.parametrize("make", [in_itself, in_its_list, in_its_object, in_its_tuple])
def test_a_value_that_holds_itself_still_does(make: Any) -> None:
    same = make("nothing")
    assert rewrite(same, REDACT.replacer().change) is same

    after = rewrite(make(EMAIL), REDACT.replacer().change)
    again = rewrite(after, REDACT.replacer().change)

    assert again is after
    assert EMAIL not in shown(after)


def test_a_mapping_that_holds_itself_is_one_object() -> None:
    after = rewrite(in_itself(EMAIL), REDACT.replacer().change)

    assert after["me"] is after
    assert after["deep"][0][0] is after["deep"][0][1]["again"] is after


def test_two_keys_stay_two() -> None:
    value = {"ann@example.com": 1, "bob@example.com": 2, 4111111111111111: 3, 5555555555554444: 4}
    expected = {
        "[EMAIL_ADDRESS]": 1,
        "[EMAIL_ADDRESS] (2)": 2,
        "[CREDIT_CARD]": 3,
        "[CREDIT_CARD] (2)": 4,
    }

    assert through_values(value) == expected
    assert through_log(value)["value"] == expected


def test_a_whole_number_is_searched_in_a_log_whatever_its_type() -> None:
    assert "4111" not in shown(through_log({"card": float(CARD), "cards": [float(CARD)]}))


def test_a_value_that_is_nested_too_deeply_is_refused() -> None:
    value: Any = EMAIL
    for _ in range(5000):
        value = [value]

    with pytest.raises(DetectionFailed, match="nested too deeply") as refused:
        through_values(value)

    assert EMAIL not in repr(refused.value)


def test_what_cannot_be_searched_leaves_no_exception_raw() -> None:
    def fails(text: str) -> str:
        raise DetectionFailed("a recognizer failed")

    with pytest.raises(ValueError, match="UNREADABLE") as raised, cleaned_errors(fails):
        raise ValueError(EMAIL)

    assert EMAIL not in shown(raised.value)


def test_a_state_that_is_none_is_no_state_of_a_node() -> None:
    with pytest.raises(ConfigurationError, match="type int"):
        as_node(Redact("CREDIT_CARD"))(CARD)
