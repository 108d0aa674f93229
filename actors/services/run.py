"""The scope of a run: budget, deadline, log, tracer and journal for everything that happens in it.

This module stands above the other services, because it makes a budget pool where a number is
given.
"""

from __future__ import annotations

import contextlib
from contextvars import Token
from decimal import Decimal
from typing import Any

from actors._context import RUN, RunContext, current
from actors._deadline import Deadline
from actors._default import check_system, system_for
from actors._errors import CallboardError, InvalidOption
from actors._ids import RANDOM
from actors._options import filled
from actors._system import ActorSystem
from actors.services._money import Money, nano_dollars
from actors.services.budget import Acquisition, Budget, BudgetPool, Lease

__all__ = ["RunScope", "run"]


def run(
    *,
    budget: Money | Budget | None = None,
    deadline: float | Deadline | None = None,
    log: Any = None,
    tracer: Any = None,
    journal: Any = None,
    run_id: str | None = None,
    system: ActorSystem | None = None,
) -> RunScope:
    """Open a run: a scope, sync or async, that yields the run's context.

    What is not given is that of the run around it, if there is one. The deadline does not
    interrupt the block itself (`async with r.deadline:` does); it travels with every request.

    Args:
        budget: USD for a pool of the run's own, which is closed at its end; inside a run with a
            budget, a lease of that much on it. A pool or a lease is used as it is.
        deadline: seconds from now, or a `Deadline`; never later than that of the run around it.
        log: a `DecisionLog`.
        tracer: a `Tracer`.
        journal: a `Journal`.
        run_id: names the run in every record; a run inside a run keeps the outer one's name, any
            other gets a random one.
        system: whose clock counts and where a pool is made; None is the default one.

    Raises:
        InvalidOption: an option is not one of these.
        BudgetExceeded: there is no room for the lease (on entering).
    """
    filled("run_id", run_id, optional=True)
    check_system(system)
    _must_have("log", log, "record", "a DecisionLog, or None")
    _must_have("tracer", tracer, "span", "a Tracer, or None")
    if isinstance(journal, (str, bytes, int, float)):
        raise InvalidOption("journal", journal, "a Journal, or None")
    if budget is not None and not isinstance(budget, Budget):
        if not isinstance(budget, (int, float, str, Decimal)):
            raise InvalidOption("budget", budget, "USD, a BudgetPool, a Lease, or None")
        nano_dollars(budget, "budget")
    given: object = deadline
    if given is not None and not isinstance(given, Deadline):
        # Checked now, counted from the moment the run is entered.
        Deadline(deadline)  # type: ignore[arg-type]  # what is no number is refused there
    own = {"log": log, "tracer": tracer, "journal": journal, "run_id": run_id}
    return RunScope(budget, deadline, own, system)


def _must_have(option: str, value: Any, method: str, expected: str) -> None:
    if value is not None and not callable(getattr(value, method, None)):
        raise InvalidOption(option, value, expected)


class RunScope:
    """A run that can be entered, once."""

    def __init__(
        self,
        budget: Money | Budget | None,
        deadline: float | Deadline | None,
        own: dict[str, Any],
        system: ActorSystem | None,
    ) -> None:
        self._budget = budget
        self._deadline = deadline
        self._own = own
        self._system = system
        self._token: Token[RunContext | None] | None = None
        self._entered = False
        # What this run made itself and has to give back.
        self._pool: BudgetPool | None = None
        self._lease: Lease | None = None

    def _asks(self) -> Acquisition | None:
        """Return the acquire that entering has to wait for, if any."""
        if self._entered:
            raise CallboardError("this run was entered before; call run() again")
        self._entered = True
        outer = current()
        if self._budget is None or isinstance(self._budget, Budget):
            return None
        if outer is not None and isinstance(outer.budget, Budget):
            return outer.budget.acquire(self._budget)
        self._pool = BudgetPool(self._budget, name="run", system=self._system)
        return None

    def _open(self) -> RunContext:
        outer = current()
        changes = {name: value for name, value in self._own.items() if value is not None}
        budget = self._lease or self._pool or self._budget
        if budget is not None:
            changes["budget"] = budget
        if self._deadline is not None:
            changes["deadline"] = self._due(self._deadline)
        if outer is None:
            changes.setdefault("run_id", f"{RANDOM.getrandbits(128):032x}")
            context = RunContext(**changes)
        else:
            context = outer.child(**changes) if changes else outer
        self._token = RUN.set(context)
        return context

    def _due(self, deadline: float | Deadline) -> Deadline:
        if isinstance(deadline, Deadline):
            return deadline
        system = system_for(self._system)
        return Deadline(deadline, clock=system.clock)

    def _end(self) -> None:
        token, self._token = self._token, None
        if token is not None:
            # In another context than it was entered in, it was never current.
            with contextlib.suppress(ValueError):
                RUN.reset(token)
        if self._lease is not None:
            self._lease.release()
        if self._pool is not None:
            # Not waited for: it has no file, so nothing can be lost.
            self._pool.close()

    def __enter__(self) -> RunContext:
        acquisition = self._asks()
        if acquisition is not None:
            self._lease = acquisition.get()
        return self._open()

    def __exit__(self, *_: object) -> None:
        self._end()

    async def __aenter__(self) -> RunContext:
        acquisition = self._asks()
        if acquisition is not None:
            self._lease = await acquisition
        return self._open()

    async def __aexit__(self, *_: object) -> None:
        self._end()
