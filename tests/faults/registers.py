"""Is a history of one register explainable?  A just-in-time search for a linearization.

A register holds a digest, or None for nothing.  An operation takes effect at one moment between its start and its
end; one whose outcome is unknown may also never take effect.  Walking through starts and ends in the order of time,
we keep every state that the register could be in, and with it the operations that have begun and not taken effect.
When an operation ends, only those states survive in which it has.  If none does, no order of effects explains what
the clients saw.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

Value = str | None
State = tuple[Value, frozenset[int]]


@dataclass(frozen=True)
class Step:
    """An operation: `effect` gives the value after it, and raises Impossible where it cannot have ended so."""

    start: int
    end: int
    effect: Callable[[Value], Value]
    certain: bool
    """Whether it did take effect; otherwise it may have."""
    name: str


class Impossible(Exception):  # noqa: N818 - a verdict, no error
    """The operation cannot have ended so with the register in this state."""


def write(value: Value) -> Callable[[Value], Value]:
    return lambda _before: value


def seen(value: Value) -> Callable[[Value], Value]:
    """A read that found `value`."""

    def effect(before: Value) -> Value:
        if before != value:
            raise Impossible
        return before

    return effect


def removed(before: Value) -> Value:
    """A deletion that was acknowledged: there was something."""
    if before is None:
        raise Impossible
    return None


def cleared(value: Value) -> Callable[[Value], Value]:
    """Nothing is left of `value`; any other stays."""
    return lambda before: None if before == value else before


def explain(steps: Iterable[Step]) -> str | None:
    """None where some order explains it all; otherwise the operation at which every explanation fails."""
    ordered = sorted(steps, key=lambda one: one.start)
    moments = sorted(
        [(one.start, 0, number) for number, one in enumerate(ordered)]
        + [(one.end, 1, number) for number, one in enumerate(ordered)]
    )
    states: set[State] = {(None, frozenset())}
    for _at, ending, number in moments:
        if not ending:
            states = {(value, waiting | {number}) for value, waiting in states}
            continue
        reached = _reach(states, ordered)
        states = {(value, waiting) for value, waiting in reached if number not in waiting}
        if not ordered[number].certain:
            states |= {(value, waiting - {number}) for value, waiting in reached}
        if not states:
            return f"{ordered[number].name} cannot have seen or done this; before it: {_told(reached)}"
    return None


def _reach(states: set[State], steps: list[Step]) -> set[State]:
    """Every state that can be reached by letting operations that wait take effect."""
    found, fresh = set(states), list(states)
    while fresh:
        value, waiting = fresh.pop()
        for number in waiting:
            try:
                following = (steps[number].effect(value), waiting - {number})
            except Impossible:
                continue
            if following not in found:
                found.add(following)
                fresh.append(following)
    return found


def _told(states: set[State]) -> str:
    return ", ".join(sorted({str(value) for value, _ in states})[:4])
