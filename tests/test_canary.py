"""More than a thousand planted values, on every surface, in every way to run a graph: none is found afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from tests.canary.faces import Face, drive
from tests.canary.scenes import SCENES, Scene
from tests.canary.search import told
from tests.canary.site import opened
from tests.canary.values import MAKERS, Planted, Plants

from lg_prod_nodes import Redact

pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning"),
]

BY_NATURE = (
    "callback: on_chain_end of edge",
    *(f"callback: on_chain_{when} of ChatPromptTemplate" for when in ("start", "end")),
    *(f"callback: on_chain_{when} of RunnableSequence" for when in ("start", "end")),
    "callback: on_chain_end of pieces",
    "callback: on_chain_error of edge",
    "callback: on_chain_end of yields",
    "callback: on_custom_event",
    "callback: on_chain_start of body",
)
"""What a handler of the caller's own hears of runnables that a node's, or an edge's, own code calls: see the docs."""

FACES = (Face(is_async=False), Face(is_async=True))
CASES = [
    pytest.param(scene, face, id=f"{scene.name}-{face.name}")
    for scene in SCENES
    for face in FACES
    if scene.is_async in (None, face.is_async)
]
CONTROLS = [case for case in CASES if case.values[0] in {s.play: s for s in SCENES[::-1]}.values()]
"""One case for what is run, whatever is to keep it clean."""


def played(scene: Callable[[], Awaitable[Any]], face: Face) -> Any:
    """Play a scene, in an event loop or without any."""
    return asyncio.run(scene()) if face.is_async else drive(scene())  # type: ignore[arg-type]


def reported(leaks: Mapping[Planted, set[str]]) -> list[str]:
    """The leaks to be told, without those that are so by nature."""
    left = {
        planted: {place for place in places if not place.startswith(BY_NATURE)}
        for planted, places in leaks.items()
    }
    return told({planted: places for planted, places in left.items() if places})


@pytest.mark.parametrize(("scene", "face"), CASES)
def test_what_is_planted_is_found_nowhere(scene: Scene, face: Face, dsn: str) -> None:
    async def scenery() -> Any:
        async with opened(dsn, face, *scene.policies) as site:
            await scene.play(site, scene.ways(site))
        return site.leaks()

    assert reported(played(scenery, face)) == []


@pytest.mark.parametrize(("scene", "face"), CONTROLS)
def test_without_policies_all_that_is_planted_is_found(scene: Scene, face: Face, dsn: str) -> None:
    async def scenery() -> Any:
        async with opened(dsn, face) as site:
            await scene.play(site, scene.showing(site))
        return site

    site = played(scenery, face)
    shown = site.shown()
    surfaces = {planted.surface for planted in shown}
    if scene.shows_all:
        assert surfaces == site.plants.surfaces
    assert len(shown) >= (0.95 if scene.shows_all else 0.7) * len(site.plants)


def test_values_are_hundreds_and_no_two_are_alike() -> None:
    plants = Plants()
    for at in range(200):
        plants.text(f"surface {at}")

    assert len({planted.value for planted in plants}) == 200 * len(MAKERS)


def test_each_value_is_found_in_the_text_that_holds_it() -> None:
    plants, find = Plants(), Redact().detector.find
    for at in range(200):
        for text in (plants.text(f"surface {at}"), plants.json(f"surface {at}")):
            found = {finding.entity for finding in find(text)}
            assert found == set(MAKERS)
