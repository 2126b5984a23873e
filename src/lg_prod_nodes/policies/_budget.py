"""The base of all budgets: reserve before a model call, settle after it, ask a person for more."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from itertools import count
from typing import Any, ClassVar, Literal

from langgraph.constants import CONFIG_KEY_CHECKPOINTER
from langgraph.types import interrupt

from lg_prod_nodes.core.advice import wrong_choice
from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.errors import BudgetExceeded, ConfigurationError, StoreUnavailable
from lg_prod_nodes.core.keys import by_run
from lg_prod_nodes.core.report import Kind
from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.core.usage import LONGEST_ANSWER, CallRequest, Usage, estimated_tokens, is_unread
from lg_prod_nodes.policies._admission import Admission
from lg_prod_nodes.stores.accounts.periods import Allowance, parse_allowance
from lg_prod_nodes.stores.accounts.store import Account, AccountStore, Reservation

_AN_HOUR, _A_DAY, _A_MONTH = 3600.0, 24 * 3600.0, 30 * 24 * 3600.0
_MOST = 2**53  # every store counts exactly up to here

Reply = str | Callable[[BudgetExceeded], Any]


@dataclass(frozen=True)
class Budget(Admission):
    """The common part of all budgets. Amounts are whole numbers of the smallest unit."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({"model"})
    store_type = AccountStore
    unit: ClassVar[str]
    scale: ClassVar[int]

    budget: str
    store: Secret | AccountStore | None = field(default=None, kw_only=True, repr=False)
    max_output: int | None = field(default=None, kw_only=True)
    counting: Literal["once", "each"] = field(default="each", kw_only=True)
    reply: Reply | None = field(default=None, kw_only=True)
    ask: bool = field(default=False, kw_only=True)
    lease: float = field(default=30.0, kw_only=True)
    name: str = field(default="Budget", kw_only=True)
    store_down: Literal["raise", "admit"] = field(default="raise", kw_only=True)

    def problems(self) -> Iterator[str]:
        """Yield a message for each invalid setting."""
        if not 0 < self._limit <= _MOST:
            least, most = Decimal(1) / self.scale, _MOST // self.scale
            yield (
                f"the budget {self.budget!r} cannot be counted; give from {least:f} to {most:,} {self.unit}"
            )
        if self.max_output is not None and self.max_output < 0:
            yield f"max_output is {self.max_output}; give tokens, 0 or more"
        yield from wrong_choice("counting", self.counting, ("once", "each"))
        if not self.lease > 0:
            yield f"lease is {self.lease}; give seconds, more than 0"
        yield from super().problems()

    def amount(self, call: Call, usage: Usage) -> Decimal:
        """Return what a usage costs, in the budget's unit."""
        raise NotImplementedError

    @cached_property
    def _allowance(self) -> Allowance:
        return parse_allowance(self.budget, "budget")

    @cached_property
    def _limit(self) -> int:
        return int(self._allowance.amount * self.scale)

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Reserve the most that the call may spend, and settle what it spent."""
        account = self._account(call)
        try:
            reservation = await self._admit(call, account)
        except StoreUnavailable:
            call.emit("store_unavailable", policy=self.name)
            if self.store_down == "raise":
                raise
            return await handler(call)
        self._emit(call, "budget_checked", reservation.available)
        if not reservation.granted:
            self._check_answers(call)
            return await call.refuse(self._exceeded(call, reservation), self.reply)
        result = None
        try:
            result = await handler(call)
            return result
        finally:
            await self._settle(call, reservation, result)

    async def _admit(self, call: Call, account: Account) -> Reservation:
        what = f"{self.name}|{self._allowance.period}|{self._whom(call)}"
        charge = call.charge(what) if self.counting == "once" else None
        wanted = self._whole(self._expected(call))
        if self.ask and call.task is not None:
            return await self._ask(call, account, charge, wanted, call.numbered(f"{what}|asks"))
        return await self._reserve(call, account, charge, wanted)

    async def _reserve(
        self, call: Call, account: Account, charge: str | None, wanted: int
    ) -> Reservation:
        reservation: Reservation = await self.store_in_use.reserve(
            account, wanted, charge=charge, lease=self.lease, blocking=call.blocking
        )
        return reservation

    async def _ask(
        self, call: Call, account: Account, charge: str | None, wanted: int, asks: str
    ) -> Reservation:
        """Reserve; while the budget is exhausted, ask a person for more until they decline.

        LangGraph matches the interrupts of a node to their answers by order. So when a task runs again, each call asks
        as often as it did before, whatever the budget is now, and gets the same answers. A call that was admitted once
        never asks again.
        """
        asked, was_admitted = divmod(await self._noted(call, asks) or 0, 2)
        for number in count(1):
            if number > asked:
                reservation = await self._reserve(call, account, charge, wanted)
                if reservation.granted:
                    await self._admitted(call, reservation, asks, number)
                    return reservation
                if was_admitted:
                    return await self._let_through(call, charge, reservation, asks)
                await self._note(call, asks, 2 * number)
            self._check_checkpointer(call)
            more = self._more(interrupt(await self._question(call, account, wanted)))
            if not more:
                break
            await self.store_in_use.grant(
                account, more, id=f"{asks}:{number}", blocking=call.blocking
            )
        return await self._reserve(call, account, charge, wanted)

    async def _admitted(self, call: Call, reservation: Reservation, asks: str, number: int) -> None:
        """Note that a call was admitted; if that fails or is cancelled, release what it has reserved."""
        try:
            await self._note(call, asks, 2 * number - 1)
        except BaseException:
            await self.store_in_use.settle(reservation, reservation.earlier, blocking=call.blocking)
            raise

    async def _let_through(
        self, call: Call, charge: str | None, refused: Reservation, asks: str
    ) -> Reservation:
        """Admit a call that was admitted before and cannot ask any more, once for each point that the run resumes from.

        It reserves what is available.
        """
        place = call.run.charges.work.place
        if not place or await self._noted(call, asks, place) is not None:
            return refused
        await self._note(call, asks, 1, place)
        return await self._reserve(call, refused.account, charge, refused.available)

    async def _noted(self, call: Call, asks: str, what: str = "asked") -> int | None:
        """Return what was noted of a call: how often it asked, times two, plus one if it was admitted after that."""
        noted: int | None = await self.store_in_use.granted(
            _asks(asks), what, blocking=call.blocking
        )
        return noted

    async def _note(self, call: Call, asks: str, number: int, what: str = "asked") -> None:
        await self.store_in_use.grant(_asks(asks), number, id=what, blocking=call.blocking)

    async def _settle(self, call: Call, reservation: Reservation, result: Any) -> None:
        actual = reservation.amount  # charged if the price function fails
        try:
            actual = self._used(call, reservation, result)
        finally:
            try:
                left = await self.store_in_use.settle(reservation, actual, blocking=call.blocking)
            except StoreUnavailable:
                call.emit("store_unavailable", policy=self.name)
            else:
                self._emit(call, "budget_settled", left, amount=self._shown(actual))

    def _used(self, call: Call, reservation: Reservation, result: Any) -> int:
        """Return what a call is charged. If it spent nothing, the charge of the task's earlier execution stands.

        The caller reads a stream of events after this call has returned, so its usage is not known here. It is charged
        the whole reservation.
        """
        spent = sum(self._whole(self.amount(call, usage)) for usage in _request(call).spent)
        unread = reservation.amount if is_unread(result) else 0
        return spent or unread or reservation.earlier

    def _emit(self, call: Call, event: str, left: int, **data: float) -> None:
        available = self._shown(left)
        call.emit(event, policy=self.name, budget=self.name, available=available, **data)

    async def _question(self, call: Call, account: Account, wanted: int) -> dict[str, Any]:
        balance = await self.store_in_use.balance(account, blocking=call.blocking)
        available = account.limit + balance.granted - balance.spent - balance.reserved
        return {
            "policy": self.name,
            "budget": self._words,
            "needed": self._shown(wanted),
            "available": self._shown(max(available, 0)),
        }

    def _more(self, answer: Any) -> int:
        """Return what a person granted: a number, or the one under `grant`."""
        more = answer.get("grant") if isinstance(answer, Mapping) else answer
        if isinstance(more, bool) or not isinstance(more, (int, float)) or not more > 0:
            return 0
        return self._whole(Decimal(str(min(more, _MOST // self.scale))))

    def _account(self, call: Call) -> Account:
        time = call.clock.time()
        span, end = self._allowance.span(time)
        lasts = None if end is None else end - time + _AN_HOUR  # the clocks of workers differ
        if self.by is by_run:
            lasts = _A_DAY
        return Account(f"{self.name}|{span}|{self._whom(call)}", self._limit, lasts)

    def _whom(self, call: Call) -> str:
        whom = self.key(call)
        return "*" if whom is None else f"={whom}"

    def _exceeded(self, call: Call, reservation: Reservation) -> BudgetExceeded:
        time = call.clock.time()
        _, end = self._allowance.span(time)
        fits = reservation.amount <= reservation.account.limit
        return BudgetExceeded(
            self._words,
            available=self._shown(reservation.available),
            policy=self.name,
            retry_after=end - time if fits and end is not None else None,
            fits=fits,
        )

    def _expected(self, call: Call) -> Decimal:
        input_tokens = estimated_tokens(call.input, _request(call).schemas)
        reserved = self._output_limit(call)
        return self.amount(
            call, Usage(1, input_tokens, LONGEST_ANSWER if reserved is None else reserved)
        )

    def _output_limit(self, call: Call) -> int | None:
        reserved = _request(call).max_output_tokens
        return self.max_output if reserved is None else reserved

    def _check_answers(self, call: Call) -> None:
        """Reject settings that admit no call: no maximum for the answer, and its default exceeds the budget."""
        if self.ask or self._output_limit(call) is not None:
            return
        if self._whole(self.amount(call, Usage(1, 0, LONGEST_ANSWER))) > self._limit:
            raise ConfigurationError(
                f"{self.name} reserves {LONGEST_ANSWER} tokens for the answer of a model that is told no max_tokens, "
                f"more than the whole {self._words}; tell the model, or give {self.name} max_output"
            )

    def _check_checkpointer(self, call: Call) -> None:
        if call.config.get("configurable", {}).get(CONFIG_KEY_CHECKPOINTER) is None:
            raise ConfigurationError(
                f"{self.name}(ask=True) asks a person by an interrupt, which needs a checkpointer; compile the graph "
                "with one, such as compile(checkpointer=InMemorySaver()), or leave ask out"
            )

    @property
    def _words(self) -> str:
        return f"{self._allowance.adjective}budget of {self._allowance.amount:,} {self.unit}"

    def _whole(self, amount: Decimal) -> int:
        return math.ceil(amount * self.scale)

    def _shown(self, whole: int) -> float:
        return whole if self.scale == 1 else whole / self.scale


def _request(call: Call) -> CallRequest:
    return call.request or CallRequest()


def _asks(charge: str) -> Account:
    return Account(f"asks|{charge}", 0, _A_MONTH)
