"""A process that counts into a ledger: `python ledger_worker.py DSN JOURNAL` obeys each line with one graph run.

`call` asks the model, which answers at once. `hang` asks it, prints `asked <call id>` and never gets an answer. `fork`
asks it in a child process. Each prints `done` at its end; the end of the input ends the program.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import START, MessagesState, StateGraph

from lg_prod_nodes import Ledger, TokenUsage, harden


class Model(BaseChatModel):
    """Answers for 3 tokens sent and 4 received, or never."""

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _generate(self, messages: Any, *args: Any, run_manager: Any, **options: Any) -> ChatResult:
        if messages[-1].text == "hang":
            print("asked", run_manager.run_id, flush=True)
            threading.Event().wait()
        usage: Any = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
        named = {"model_name": "gpt-4o-mini"}
        message = AIMessage("hello", usage_metadata=usage, response_metadata=named)
        return ChatResult(generations=[ChatGeneration(message=message)])


def main(dsn: str, journal: str) -> None:
    ledger = Ledger(dsn, journal=journal, timeout=2)

    def ask(state: MessagesState) -> Any:
        return {"messages": [Model().invoke(state["messages"])]}

    builder = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask")
    graph = harden(builder, [TokenUsage(ledger=ledger)]).compile(name="desk")

    def run(what: str) -> None:
        user = {"user_id": f"process-{os.getpid()}"}
        graph.invoke({"messages": [("user", what)]}, {"configurable": user})

    for line in sys.stdin:
        if line.strip() == "fork":
            if (child := os.fork()) == 0:
                run("call")
                sys.exit()
            os.waitpid(child, 0)
        else:
            run(line.strip())
        print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
