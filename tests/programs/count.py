"""Twenty turns of one thread of this process's own: `python count.py DSN sync|async`."""

import asyncio
import operator
import sys
from typing import Annotated, Any

from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from lg_prod_nodes import Production


class State(TypedDict):
    turns: Annotated[int, operator.add]


def main(dsn: str, way: str) -> None:
    builder = StateGraph(State).add_node("turn", lambda _: {"turns": 1}).add_edge(START, "turn")
    production = Production(builder, postgres=dsn)
    config: Any = {"configurable": {"thread_id": way}}

    async def asynchronous() -> Any:
        async with production as app:
            return [await app.ainvoke({"turns": 0}, config) for _ in range(20)][-1]

    if way == "async":
        result = asyncio.run(asynchronous())
    else:
        with production as app:
            result = [app.invoke({"turns": 0}, config) for _ in range(20)][-1]
    print(f"{result['turns']} turns")


if __name__ == "__main__":
    main(*sys.argv[1:])
