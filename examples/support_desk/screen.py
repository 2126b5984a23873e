"""What the demo shows while it runs: a live view in a terminal, a few plain lines elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from langchain_core.messages import AIMessageChunk
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from books import Books
from conversations import Conversation


@dataclass
class _Seat:
    """What is visible of a conversation: its user, and its current text."""

    conversation: Conversation
    message: str | None = None
    said: str = ""

    def line(self) -> tuple[str, str, str]:
        return self.conversation.user, self.conversation.thread, self.said


class Screen:
    """The state of the demo: finished conversations, sums, and what the desk says in each conversation."""

    def __init__(self, console: Console, books: Books, conversations: int, seats: int) -> None:
        self._console, self._books = console, books
        self._bar = Progress(
            TextColumn("Conversations"),
            BarColumn(46),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._bar.add_task("", total=conversations)
        self._free = list(range(seats))
        self._seats: list[_Seat | None] = [None] * seats
        self._announced: str | None = None
        self._spinner = Spinner("dots")
        self._live = Live(
            get_renderable=self._view, console=console, refresh_per_second=10, transient=True
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def announce(self, text: str | None) -> None:
        """Show what takes a moment; `None` shows the conversations."""
        self._announced = text
        if text is None:
            self._bar.reset(self._task)  # its clock counts from here
        elif not self._console.is_terminal:
            self._console.print(text)

    def sit(self, conversation: Conversation) -> int:
        """Give a conversation a line of the view."""
        at = self._free.pop(0)
        self._seats[at] = _Seat(conversation)
        return at

    def say(self, at: int, message: object) -> None:
        """Show a token that the desk says, or the tool that it uses."""
        if (seat := self._seats[at]) is None or not isinstance(message, AIMessageChunk):
            return
        if message.id != seat.message:
            seat.message, seat.said = message.id, ""
        tool = next((chunk["name"] for chunk in message.tool_call_chunks if chunk["name"]), None)
        seat.said += f"{tool} ..." if tool else message.text

    def leave(self, at: int) -> None:
        """Note the end of a conversation."""
        self._free.append(at)
        self._bar.advance(self._task)
        done, total = int(self._bar.tasks[0].completed), int(self._bar.tasks[0].total or 0)
        if not self._console.is_terminal and (done % 10 == 0 or done == total):
            self._console.print(
                f"{done:3} of {total} conversations, {self._sums()}", soft_wrap=True
            )

    def _sums(self) -> str:
        events = self._books.diary.events
        usage = [run.report.usage for run in self._books.runs]
        parts = {
            "runs": len(self._books.runs),
            "tokens": sum(u.total_tokens for u in usage),
            "redacted": self._books.diary.found["Redact"].total(),
            "refused": events["RateLimit call_rejected"],
            "blocked": events["ContentFilter call_rejected"],
            "approvals": sum(run.report.outcome == "interrupt" for run in self._books.runs),
            "errors": events["CaptureErrors error_captured"],
        }
        return ", ".join(f"{number:,} {name}" for name, number in parts.items())

    def _view(self) -> RenderableType:
        if self._announced:
            self._spinner.update(text=self._announced)
            return self._spinner
        lines = Table.grid(padding=(0, 2))
        for width, style in ((9, "cyan"), (15, "dim"), (self._console.width - 28, "")):
            lines.add_column(width=width, style=style, no_wrap=True, overflow="ellipsis")
        for seat in self._seats:
            lines.add_row(*map(Text, seat.line() if seat else ("", "", "")))
        return Group("", self._bar, Text(self._sums(), style="dim"), "", lines, "")
