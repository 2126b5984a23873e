"""What a circuit is and how it changes: every decision is a pure function of the state and the time."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Literal, NamedTuple

Result = Literal["ok", "failed", "limited"]
"""What a call says about its dependency: it works, it fails, or it asks to slow down."""

_FIRST_RATE = 20.0
_SLOWEST_RATE = 1 / 60
_SLOWER = 0.9
_MUCH_SLOWER = 0.5  # if no call succeeded at a pace
_FASTER = 0.03
_FORGOTTEN = 60.0
_LONGEST_WAIT = 3600.0


@dataclass(frozen=True, slots=True)
class CircuitRules:
    """When a circuit opens and closes.

    Attributes:
        ratio: The share of failed calls that opens it.
        minimum: How many calls it takes to decide.
        window: Seconds in which calls are counted, from the first that failed.
        open_for: Seconds that it stays open, and from one round of probes to the next.
        probes: How many calls a round lets through.
    """

    ratio: float
    minimum: int
    window: float
    open_for: float
    probes: int


@dataclass(frozen=True, slots=True)
class Circuit:
    """The state of a dependency, for all callers. Times are seconds since the epoch.

    Attributes:
        era: Changes when it opens or closes; results of calls of another era are out of date.
        since: When the first call failed of those that are counted.
        calls: How many calls ended since then.
        failures: How many of them failed.
        open_until: While it is open: when the next round of probes begins, or the present one ends.
        probes: While it is open: how many the present round has let through.
        resume_at: Until when the provider asked to wait.
        pace: Calls a second that the provider bears, as far as is known; `None` where it never asked to slow down.
        bears: The pace at which it asked last.
        next_turn: When the next call may start.
        slowed: Changes when the pace is lowered; a refusal of a call of an older pace says nothing new.
    """

    era: int = 0
    since: float = 0.0
    calls: int = 0
    failures: int = 0
    open_until: float | None = None
    probes: int = 0
    resume_at: float = 0.0
    pace: float | None = None
    bears: float | None = None
    next_turn: float = 0.0
    slowed: int = 0

    @classmethod
    def of(cls, text: str | None) -> Circuit:
        """A circuit as it was stored; a closed one if there is none."""
        return cls(**json.loads(text)) if text else cls()

    def __str__(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))


class Verdict(NamedTuple):
    """Whether a circuit admits a call.

    Attributes:
        admitted: Whether the call may start, after `wait`.
        wait: Seconds to wait; after a refusal, until another try can succeed.
        turn: When the call's turn is.
        era: The circuit's, when the call came.
        slowed: The circuit's, when the call came.
        is_open: Whether the circuit is open: an admitted call is a probe.
    """

    admitted: bool
    wait: float
    turn: float
    era: int
    slowed: int
    is_open: bool


def enter(
    circuit: Circuit,
    rules: CircuitRules,
    now: float,
    *,
    patience: float,
    waited: Verdict | None = None,
) -> tuple[Circuit, Verdict]:
    """Admit a call, or refuse it.

    Args:
        circuit: The state of the dependency.
        rules: When it opens and closes.
        now: The time.
        patience: Seconds that the call would wait.
        waited: The earlier verdict of a call that has waited for its turn.
    """
    if circuit.open_until is not None:
        return _probe(circuit, circuit.open_until, rules, now)
    if waited is not None and waited.slowed == circuit.slowed and waited.turn >= circuit.resume_at:
        turn = waited.turn
    else:
        turn = max(now, circuit.resume_at, circuit.next_turn)
        if turn - now <= patience and circuit.pace is not None:
            circuit = replace(circuit, next_turn=turn + 1 / circuit.pace)
    wait = max(turn - now, 0.0)
    return circuit, Verdict(wait <= patience, wait, turn, circuit.era, circuit.slowed, False)


def _probe(
    circuit: Circuit, until: float, rules: CircuitRules, now: float
) -> tuple[Circuit, Verdict]:
    if now >= until:
        circuit = replace(circuit, open_until=now + rules.open_for, probes=1)
    elif circuit.probes < rules.probes:
        circuit = replace(circuit, probes=circuit.probes + 1)
    else:
        return circuit, Verdict(False, until - now, until, circuit.era, circuit.slowed, True)
    return circuit, Verdict(True, 0.0, now, circuit.era, circuit.slowed, True)


def leave(
    circuit: Circuit,
    rules: CircuitRules,
    now: float,
    entry: Verdict,
    result: Result,
    *,
    retry_after: float | None = None,
) -> Circuit:
    """The circuit after a call.

    Args:
        circuit: The state of the dependency.
        rules: When it opens and closes.
        now: The time.
        entry: What the circuit said when the call came.
        result: How the call ended.
        retry_after: Seconds that the provider asks to wait.
    """
    if entry.era != circuit.era:
        return circuit
    if result == "limited":
        return _slower(_closed(circuit), now, entry, retry_after or 0.0)
    if circuit.open_until is not None:
        return _opened(circuit, rules, now) if result == "failed" else _closed(circuit)
    counted = _counted(circuit, rules, now, failed=result == "failed")
    if _is_too_much(counted, rules):
        return _opened(counted, rules, now)
    return _faster(counted, now) if result == "ok" else counted


def _counted(circuit: Circuit, rules: CircuitRules, now: float, *, failed: bool) -> Circuit:
    """The calls counted from the first failure on, so that nothing is written while all is well."""
    if circuit.failures and now < circuit.since + rules.window:
        return replace(circuit, calls=circuit.calls + 1, failures=circuit.failures + failed)
    if failed:
        return replace(circuit, since=now, calls=1, failures=1)
    return replace(circuit, since=0.0, calls=0, failures=0) if circuit.failures else circuit


def _is_too_much(circuit: Circuit, rules: CircuitRules) -> bool:
    return circuit.calls >= rules.minimum and circuit.failures >= rules.ratio * circuit.calls


def _opened(circuit: Circuit, rules: CircuitRules, now: float) -> Circuit:
    return Circuit(
        era=circuit.era + 1,
        open_until=now + rules.open_for,
        probes=rules.probes,
        slowed=circuit.slowed,
    )


def _closed(circuit: Circuit) -> Circuit:
    if circuit.open_until is None:
        return circuit
    return replace(circuit, era=circuit.era + 1, open_until=None, probes=0)


def _slower(circuit: Circuit, now: float, entry: Verdict, retry_after: float) -> Circuit:
    """A lower pace, once for all calls that came at the old one; no call starts before the provider allows it."""
    resume_at = now + min(retry_after, _LONGEST_WAIT)
    circuit = replace(circuit, resume_at=max(circuit.resume_at, resume_at))
    if entry.slowed != circuit.slowed:
        return circuit
    if circuit.pace is None:
        slower = _FIRST_RATE
    else:
        served = circuit.pace != circuit.bears
        slower = circuit.pace * (_SLOWER if served else _MUCH_SLOWER)
    pace = max(slower, _SLOWEST_RATE)
    bears = None if circuit.pace is None else pace
    turn = max(circuit.resume_at, now)
    return replace(circuit, pace=pace, bears=bears, next_turn=turn, slowed=circuit.slowed + 1)


def _faster(circuit: Circuit, now: float) -> Circuit:
    """A higher pace with each call that is served: by one a second at first, slowly near what was too much."""
    if circuit.pace is None:
        return circuit
    if now > circuit.resume_at + _FORGOTTEN:
        return replace(circuit, pace=None, bears=None)
    known = circuit.bears
    step = 1.0 if known is None or circuit.pace < known else _FASTER * known / circuit.pace
    return replace(circuit, pace=circuit.pace + step)
