"""What is different between two runs, and of which class the difference is. Pure."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Literal

import msgspec

from actors._errors import InvalidOption
from actors.testing._form import BESIDE, CanonicalRun, Spend, Step

__all__ = ["Change", "Difference", "Kind", "compare"]

Kind = Literal["output", "order", "calls", "decisions", "new_failure", "cost"]

_WORDS: dict[Kind, str] = {
    "new_failure": "new failure",
    "output": "output changed",
    "calls": "calls changed",
    "order": "order changed",
    "decisions": "decisions changed",
    "cost": "cost up",
}

_USABLE = frozenset({"done", "partial"})


class Change(msgspec.Struct, frozen=True):
    """One thing that is different.

    Attributes:
        kind: "output" (an answer, or how the run ended), "order", "calls" (who is called with
            what), "decisions", "new_failure" or "cost".
        where: the run, or the path of the step through those that called it.
        detail: what it is, in words.
        percent: of a cost, by how much it is up; None otherwise, or if it was nothing before.
    """

    kind: Kind
    where: str
    detail: str
    percent: float | None = None

    def __str__(self) -> str:
        return f"{_WORDS[self.kind]}: {self.where}: {self.detail}"


class Difference(msgspec.Struct, frozen=True):
    """All that is different; true if anything is.

    Attributes:
        changes: what, the gravest class first.
        diff: the two runs as a diff of their lines.
    """

    changes: tuple[Change, ...] = ()
    diff: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    @property
    def kinds(self) -> frozenset[Kind]:
        """The classes of the changes."""
        return frozenset(change.kind for change in self.changes)

    def lines(self) -> list[str]:
        """Return it for people: the changes by class, then the diff."""
        text = [str(change) for change in self.changes]
        return [*text, "", *self.diff] if self.diff else text

    def __str__(self) -> str:
        return "\n".join(self.lines())


class _Place(msgspec.Struct, frozen=True):
    """A step, without what is below it, and where it stands."""

    path: tuple[str, ...]
    beside: bool
    step: Step


def compare(
    old: CanonicalRun, new: CanonicalRun, *, cost: float = 0.0, tokens: float | None = None
) -> Difference:
    """Compare a run with the one it should be like.

    A run that is cheaper is no different.

    Args:
        old: the one it should be like.
        new: the run.
        cost: by which share each agent's cost, and the run's, may be higher; 0.1 is 10 %.
        tokens: the same of tokens; None is `cost`.

    Raises:
        InvalidOption: a tolerance is below zero.
    """
    tolerances = {"cost": cost, "tokens": cost if tokens is None else tokens}
    for name, value in tolerances.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
            raise InvalidOption(name, value, "a share, such as 0.1 for 10 %")
    changes = [*_endings(old, new), *_steps(old, new), *_costs(old, new, tolerances)]
    if _rulings(old) != _rulings(new):
        changes.append(Change("decisions", "the run", "other decisions outside of calls"))
    rank = list(_WORDS)
    changes.sort(key=lambda change: rank.index(change.kind))
    diff = difflib.unified_diff(old.lines(), new.lines(), "stored", "now", lineterm="", n=2)
    return Difference(tuple(changes), tuple(diff))


def _rulings(run: CanonicalRun) -> bytes:
    return msgspec.json.encode(run.decisions)


def _endings(old: CanonicalRun, new: CanonicalRun) -> Iterator[Change]:
    where = "the run"
    before, after = _ending(old), _ending(new)
    if before != after:
        worse = old.status in _USABLE and new.status not in _USABLE
        other = new.error is not None and new.error != old.error
        yield Change("new_failure" if worse or other else "output", where, f"{before}, now {after}")
    if old.output != new.output:
        yield Change("output", where, _texts(old.output, new.output))


def _ending(run: CanonicalRun) -> str:
    reason = f" ({run.reason})" if run.reason else ""
    return f"{run.status}{reason}" + (f": {run.error}" if run.error is not None else "")


def _texts(old: str | None, new: str | None) -> str:
    return f"{_excerpt(old)}, now {_excerpt(new)}"


def _excerpt(text: str | None) -> str:
    if text is None:
        return "nothing"
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}…"


def _walk(
    steps: Iterable[Step], path: tuple[str, ...] = (), *, beside: bool = False
) -> Iterator[_Place]:
    for step in steps:
        if step.kind == BESIDE:
            yield from _walk(step.steps, path, beside=True)
            continue
        own = (*path, f"{step.kind} {step.name}")
        yield _Place(own, beside, msgspec.structs.replace(step, steps=()))
        yield from _walk(step.steps, own)


def _steps(old: CanonicalRun, new: CanonicalRun) -> Iterator[Change]:
    before, after = list(_walk(old.steps)), list(_walk(new.steps))
    pairs = _matched(before, after)
    for here, there in pairs:
        if there is None:
            yield Change("calls", _where(before[here or 0]), "is not called any more")
        elif here is None:
            place = after[there]
            yield Change("calls", _where(place), "is called, and was not")
            if place.step.error is not None:
                yield Change("new_failure", _where(place), place.step.error)
        else:
            yield from _one(before[here], after[there])
    common = [(here, there) for here, there in pairs if here is not None and there is not None]
    # By the order of the old run: that of the new one has to rise with it.
    common.sort()
    highest = -1
    for here, there in common:
        if there < highest:
            yield Change("order", _where(after[there]), "is called earlier than it was")
        elif before[here].beside != after[there].beside:
            how = "side by side with others" if after[there].beside else "by itself"
            yield Change("order", _where(after[there]), f"is called {how}, and was not")
        highest = max(highest, there)


def _where(place: _Place) -> str:
    return " > ".join(place.path)


def _matched(before: list[_Place], after: list[_Place]) -> list[tuple[int | None, int | None]]:
    """Return which place of the new run is which of the old one; None is none.

    Of several on the same path, first those that are equal are taken together, so that a new order
    is not taken for new contents; the rest by their order.
    """
    old: dict[tuple[str, ...], list[int]] = defaultdict(list)
    new: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, place in enumerate(before):
        old[place.path].append(number)
    for number, place in enumerate(after):
        new[place.path].append(number)
    pairs: list[tuple[int | None, int | None]] = []
    for path in {**old, **new}:
        left, right = list(old[path]), list(new[path])
        for here in list(left):
            same = next((there for there in right if after[there].step == before[here].step), None)
            if same is not None:
                left.remove(here)
                right.remove(same)
                pairs.append((here, same))
        shared = min(len(left), len(right))
        pairs += zip(left[:shared], right[:shared], strict=True)
        pairs += [(here, None) for here in left[shared:]]
        pairs += [(None, there) for there in right[shared:]]
    return pairs


def _one(old: _Place, new: _Place) -> Iterator[Change]:
    """Tell what is different in one step."""
    where, before, after = _where(new), old.step, new.step
    if before.error != after.error:
        if after.error is None:
            yield Change("output", where, f"does not fail any more with {before.error}")
        else:
            was = "it succeeded" if before.error is None else before.error
            yield Change("new_failure", where, f"{was}, now {after.error}")
    if before.asked != after.asked:
        asked = zip(before.asked, after.asked, strict=False)
        first = next((pair for pair in asked if pair[0] != pair[1]), None)
        words = (
            f"{len(before.asked)} messages, now {len(after.asked)}"
            if first is None
            else _texts(*first)
        )
        yield Change("calls", where, f"asked {words}")
    if before.attributes != after.attributes:
        names = sorted(
            name
            for name in {*before.attributes, *after.attributes}
            if before.attributes.get(name) != after.attributes.get(name)
        )
        # How a pattern ended is told by its span.
        ended = {"callboard.status", "callboard.reason"}
        kind: Kind = "output" if ended.issuperset(names) else "calls"
        values = ", ".join(
            f"{name} {before.attributes.get(name)!r}, now {after.attributes.get(name)!r}"
            for name in names
        )
        yield Change(kind, where, values)
    if before.answered != after.answered:
        yield Change("output", where, f"answered {_texts(before.answered, after.answered)}")
    elif before.finish_reason != after.finish_reason:
        reasons = f"{before.finish_reason}, now {after.finish_reason}"
        yield Change("output", where, f"ended by {reasons}")
    if before.decisions != after.decisions:
        kinds = [ruling.decision for ruling in before.decisions]
        now = [ruling.decision for ruling in after.decisions]
        words = f"{kinds}, now {now}"
        if kinds == now:
            pairs = zip(before.decisions, after.decisions, strict=True)
            differing = sorted({ruling.decision for ruling, other in pairs if ruling != other})
            words = f"{', '.join(differing)} with other fields"
        yield Change("decisions", where, words)


def _costs(old: CanonicalRun, new: CanonicalRun, tolerances: dict[str, float]) -> Iterator[Change]:
    found = False
    for agent, spend in new.spend.items():
        before = old.spend.get(agent)
        # One that was not there is told as a call, and shows in the total.
        if before is not None:
            for change in _dearer(f"agent {agent}", before, spend, tolerances):
                found = True
                yield change
    total = _dearer("the run", _total(old), _total(new), tolerances)
    if not found:
        yield from total


def _total(run: CanonicalRun) -> Spend:
    return Spend(0, run.tokens, run.cost_usd)


def _dearer(where: str, old: Spend, new: Spend, tolerances: dict[str, float]) -> Iterator[Change]:
    if new.cost_usd is None and old.cost_usd is not None:
        yield Change("cost", where, f"{old.cost_usd} USD, now an unknown price")
    elif old.cost_usd is not None and new.cost_usd is not None:
        limit = old.cost_usd * (1 + Decimal(str(tolerances["cost"])))
        if new.cost_usd > limit:
            percent = _percent(old.cost_usd, new.cost_usd)
            yield Change(
                "cost", where, f"{_up(percent)}: {old.cost_usd} USD, now {new.cost_usd}", percent
            )
            return
    if new.tokens > old.tokens * (1 + tolerances["tokens"]):
        percent = _percent(Decimal(old.tokens), Decimal(new.tokens))
        yield Change(
            "cost", where, f"{_up(percent)}: {old.tokens} tokens, now {new.tokens}", percent
        )


def _percent(old: Decimal, new: Decimal) -> float | None:
    return None if not old else round(float((new - old) / old * 100), 1)


def _up(percent: float | None) -> str:
    return "up from nothing" if percent is None else f"up by {percent:g} %"
