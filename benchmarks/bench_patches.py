"""What code that no policy guards pays for the patches: the calls of models and tools, with and without them.

python benchmarks/bench_patches.py [rounds]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from langchain_core.language_models import LLM, BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool

from lg_prod_nodes import install, uninstall

CALLS = 300


class Chat(BaseChatModel):
    @property
    def _llm_type(self) -> str:
        return "chat"

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("hi"))])


class Texts(LLM):
    @property
    def _llm_type(self) -> str:
        return "texts"

    def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
        return "hi"


@tool
def look(who: str) -> str:
    """Look someone up."""
    return who


CHAT, TEXTS = Chat(), Texts()
CASES: dict[str, Callable[[], object]] = {
    "chat model, invoke": lambda: CHAT.invoke("hi"),
    "text model, invoke": lambda: TEXTS.invoke("hi"),
    "tool, invoke": lambda: look.invoke({"who": "ada"}),
}


def microseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - start) / CALLS * 1e6


def main(rounds: int) -> None:
    print(f"{'':22}{'bare':>10}{'patched':>10}{'more':>10}   us a call, medians of {rounds} rounds")
    for name, call in CASES.items():
        bare: list[float] = []
        patched: list[float] = []
        for _ in range(rounds):
            uninstall()
            bare.append(microseconds(call))
            install()
            patched.append(microseconds(call))
        more = statistics.median(b - a for a, b in zip(bare, patched, strict=True))
        medians = statistics.median(bare), statistics.median(patched)
        print(f"{name:22}{medians[0]:10.2f}{medians[1]:10.2f}{more:10.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
