"""Values spelled so that a plain search does not see them, on the main ways through a graph."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from tests.canary.graphs import State
from tests.canary.models import Speaker, cut
from tests.canary.site import Site
from tests.canary.values import Plants
from tests.canary.ways import Way

ZERO_WIDTH, SOFT_HYPHEN, JOINER = "\u200b", "\u00ad", "\u2060"


def between(mark: str) -> Callable[[str], str]:
    """With a mark after each fourth character."""

    def spell(value: str) -> str:
        return mark.join(value[at : at + 4] for at in range(0, len(value), 4))

    return spell


def full_width(value: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in value)


def percent_encoded(value: str) -> str:
    return quote(value, safe="").replace(".", "%2E")


def html_encoded(value: str) -> str:
    return html.escape(value).replace("@", "&#64;").replace("-", "&#x2d;")


def escaped(value: str) -> str:
    return "".join(f"\\u{ord(char):04x}" if char in "@ -" else char for char in value)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "zero width": between(ZERO_WIDTH),
    "soft hyphens": between(SOFT_HYPHEN),
    "word joiners": between(JOINER),
    "full width": full_width,
    "percent": percent_encoded,
    "HTML": html_encoded,
    "JSON escapes": escaped,
}

ENTITIES = ("EMAIL_ADDRESS", "CREDIT_CARD", "IBAN_CODE", "US_SSN")


def spelled(plants: Plants, surface: str, spelling: str) -> str:
    """A text with values in a spelling."""
    spell = SPELLINGS[spelling]
    place = f"{surface}, {spelling}"
    values = {entity: plants.value(place, entity) for entity in ENTITIES}
    told = {
        "EMAIL_ADDRESS": "Write to {}, please",
        "CREDIT_CARD": "pay with the card {} please",
        "IBAN_CODE": "my IBAN is {} indeed",
        "US_SSN": "my social security number is {} there",
    }
    return ". ".join(told[entity].format(spell(value)) for entity, value in values.items()) + "."


async def run_spellings(site: Site, way: Way) -> None:
    """Let values in each spelling through a run's input, a model, a result and the custom stream."""
    received: list[Any] = []

    async def speaks(state: State) -> Any:
        said, log = [], []
        for spelling in SPELLINGS:
            text = spelled(site.plants, "model output", spelling)
            model = Speaker(says=AIMessage(text), asked=received, seed=spelling)
            asked = [
                *state["messages"],
                HumanMessage(spelled(site.plants, "model input", spelling)),
            ]
            said.append(await site.face.call(model, "invoke", asked))
            log.append(spelled(site.plants, "node result", spelling))
            for piece in cut(spelled(site.plants, "custom stream", spelling), spelling):
                get_stream_writer()(piece)
        return {"messages": said, "log": log}

    builder = StateGraph(State).add_node("speaks", site.face.node(speaks))
    graph = site.compile(builder.add_edge(START, "speaks"))
    messages = [("user", spelled(site.plants, "input", spelling)) for spelling in SPELLINGS]
    given = {"messages": messages, "profile": {"a": [spelled(site.plants, "deep", "zero width")]}}
    await site.run(way, graph, given, thread="spellings")
    await site.look_back(way, graph, thread="spellings")
    site.evidence.add("received by models and tools", *received)
