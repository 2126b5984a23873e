"""A support desk as a plain LangGraph graph. Nothing in it is about production.

agent ─┬─ tools      look up an order or a customer
       ├─ carrier    ask where a parcel is; the carrier's line is bad, so it is retried
       ├─ research   a subgraph: search the handbook, answer from it by a model call of its own
       └─ approval   ask a person before money goes out ── refund
"""

from collections.abc import Iterator
from typing import Any, Literal

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import BaseTool, tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, RetryPolicy, interrupt
from pydantic import BaseModel

import shop
from model import chat_model


@tool
async def look_up_order(order: str) -> dict[str, str]:
    """Look up an order by its number, such as A-1001."""
    return shop.order(order)


@tool
async def look_up_customer(customer: str) -> dict[str, str]:
    """Look up a customer by number, such as C-01."""
    return shop.customer(customer)


@tool
async def track_parcel(order: str) -> dict[str, str]:
    """Ask the carrier where the parcel of an order is."""
    return await shop.parcel(order)


@tool
async def refund(order: str, reason: str) -> dict[str, str]:
    """Refund an order, after a person has approved it."""
    return await shop.pay_back(order)


class search_handbook(BaseModel):  # noqa: N801 - a tool's name, which the subgraph answers to
    """Look a question up in the shop's handbook."""

    question: str


PROMPT = SystemMessage(
    "You are the support desk of a small shop. Be brief and kind. Look things up before you answer; never guess. "
    "Ask for a refund only when the customer does."
)
TOOLS: list[Any] = [look_up_order, look_up_customer, track_parcel, search_handbook, refund]
PLACES = {"track_parcel": "carrier", "search_handbook": "research", "refund": "approval"}

model = chat_model()
desk_model = model.bind_tools(TOOLS, parallel_tool_calls=False)


async def agent(state: MessagesState) -> dict[str, Any]:
    """Let the model answer, or choose a tool."""
    return {"messages": [await desk_model.ainvoke([PROMPT, *settled(state["messages"])])]}


def settled(messages: list[AnyMessage]) -> Iterator[AnyMessage]:
    """The history as providers require it: every tool call has a result, even in failed and abandoned steps."""
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    for message in messages:
        yield message
        for call in message.tool_calls if isinstance(message, AIMessage) else ():
            if call["id"] not in answered:
                text = "I am sorry, the service that I asked does not answer. Please try again in an hour."
                yield ToolMessage(text, name=call["name"], tool_call_id=call["id"])


def place(state: MessagesState) -> str:
    """The node of the tool that the model has chosen."""
    call = asked(state)
    return PLACES.get(call["name"], "tools") if call else END


def asked(state: MessagesState) -> Any:
    """The tool call that the model has just made, if any."""
    last = state["messages"][-1]
    return last.tool_calls[0] if isinstance(last, AIMessage) and last.tool_calls else None


async def approval(state: MessagesState) -> Command[Literal["agent", "refund"]]:
    """Wait for a person's decision, for as long as it takes."""
    call = asked(state)
    answer = interrupt({"question": "Pay this order back?", **call["args"]})
    if answer.startswith("yes"):
        return Command(goto="refund")
    no = ToolMessage(
        "I am sorry, the refund was not approved.", name="refund", tool_call_id=call["id"]
    )
    return Command(goto="agent", update={"messages": [no]})


class Research(MessagesState):
    passages: list[str]


async def search(state: Research) -> dict[str, Any]:
    """Find the passages of the handbook that the question is about."""
    call = asked(state)
    return {"passages": shop.passages(call["args"]["question"])}


async def summarize(state: Research) -> dict[str, Any]:
    """Answer the question from the passages."""
    call = asked(state)
    prompt = SystemMessage("Answer in two sentences. Handbook:\n" + "\n".join(state["passages"]))
    answer = await model.ainvoke([prompt, HumanMessage(call["args"]["question"])])
    return {"messages": [ToolMessage(answer.text, name=call["name"], tool_call_id=call["id"])]}


research = StateGraph(Research)
research.add_sequence([search, summarize])
research.add_edge(START, "search")


def tools(*chosen: BaseTool) -> ToolNode:
    """A node for tools: missing records are reported to the model, any other error is raised."""
    return ToolNode(chosen, handle_tool_errors=unknown)


def unknown(error: LookupError) -> str:
    """What the model is told."""
    return str(error)


builder = StateGraph(MessagesState)
builder.add_node(agent)
builder.add_node("tools", tools(look_up_order, look_up_customer))
builder.add_node(
    "carrier", tools(track_parcel), retry_policy=RetryPolicy(max_attempts=3, initial_interval=0.1)
)
builder.add_node("research", research.compile())
builder.add_node(approval)
builder.add_node("refund", tools(refund))
builder.add_edge(START, "agent")
builder.add_conditional_edges("agent", place, ["tools", "carrier", "research", "approval", END])
for node in ("tools", "carrier", "research", "refund"):
    builder.add_edge(node, "agent")
