"""Faults that a simulation injects; which and when, the seed decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from actors._default import current_actor
from actors._errors import InvalidOption, ModelError, ModelUnavailable
from actors.agents._types import Model
from actors.services.budget import Budget
from actors.testing._disk import FaultyDisk, FullDisk, ShortWrites, path_of
from actors.testing._errors import InjectedCrash
from actors.testing._faulty import Fault, FaultyModel
from actors.testing._injection import Injection, Site, Target
from actors.testing._kernel import Kernel
from actors.testing._mishaps import After, Crash, Exhaustion, Jump, Late, When
from actors.testing._options import check_count, check_rate, check_span

__all__ = ["Faults", "Injection"]

F = TypeVar("F", bound=Injection)


class Faults:
    """The faults of one simulation; none, unless they are asked for.

    What each method returns has `times`, how often it happened, and `stop()`, which ends it. Each
    fault stands in the history, as kind "fault". Where an actor is to be named, it is by its
    reference, by a class, or by a path in which `*` stands for one name and `**` for any rest.

    Args:
        site: the simulation.
        kernel: what runs it.
    """

    def __init__(self, site: Site, kernel: Kernel) -> None:
        self._site = site
        self._kernel = kernel
        self._count = 0
        self.disk = FaultyDisk()
        # Invariant: what has no faults asked for is empty, so that looking for it costs nothing.
        self.late: list[Late] = []
        self.on_message: list[Crash | Exhaustion] = []
        self._on_start: list[Crash] = []

    def _made(self, kind: Callable[..., F], *args: Any) -> F:
        self._count += 1
        return kind(self._site, self._count, *args)

    # -- actors and messages -----------------------------------------------------------------------

    def crash(
        self,
        target: Any,
        *,
        at: int | None = None,
        rate: float | None = None,
        when: When = "before",
    ) -> Injection:
        """Have an actor fail with an `InjectedCrash`.

        A request that is handled then is answered with it, and the actor fails, too.

        Args:
            target: whom; of several, each counts for itself.
            at: which message (or start), counted from 1; restarts do not begin anew.
            rate: the share of messages (or starts) instead.
            when: "before" the message is handled; "after" the handler did its work and before
                its requester has the reply; or "start", in `on_start`.

        Raises:
            InvalidOption: an option makes no sense.
        """
        if (at is None) == (rate is None):
            raise InvalidOption("at", at, "which message, or `rate`, but not both")
        if at is not None:
            check_count("at", at)
        if rate is not None:
            check_rate(rate)
        if when not in {"before", "after", "start"}:
            raise InvalidOption("when", when, "'before', 'after' or 'start'")
        if target is None:
            raise InvalidOption("target", target, 'an actor; "/**" is all of them')
        crash = self._made(Crash, Target(target), at, rate, when)
        (self._on_start if when == "start" else self.on_message).append(crash)
        return crash

    def delay(
        self,
        target: Any = None,
        *,
        source: Any = None,
        seconds: float | tuple[float, float],
        rate: float = 1.0,
    ) -> Injection:
        """Have messages arrive later; those from the same one to the same one stay in order.

        Messages to a bounded mailbox are never delayed, since its senders may have to wait.

        Args:
            target: to whom; None is everybody.
            source: from whom (not by class); None is anybody. Code outside of actors is "test",
                or the name of its simulated thread.
            seconds: of virtual time; or the least and the most.
            rate: the share of messages.

        Raises:
            InvalidOption: an option makes no sense.
        """
        check_rate(rate)
        if isinstance(source, type):
            raise InvalidOption("source", source, 'a reference, or a path such as "/team/*"')
        span = check_span(seconds)
        delay = self._made(Late, Target(target), Target(source, "source"), span, rate)
        self.late.append(delay)
        return delay

    def reorder(self, target: Any = None, *, rate: float = 1.0) -> Injection:
        """Have messages of different senders overtake each other on their way.

        Each message that is chosen arrives in a step of its own, which the seed may put behind
        anything else that can happen at that time.

        Args:
            target: to whom; None is everybody.
            rate: the share of messages.

        Raises:
            InvalidOption: an option makes no sense.
        """
        check_rate(rate)
        order = self._made(Late, Target(target), Target(None), None, rate)
        self.late.append(order)
        return order

    # -- what actors use ---------------------------------------------------------------------------

    def model(
        self,
        model: Model,
        *,
        slow: tuple[float, float | tuple[float, float]] | None = None,
        failing: float = 0.0,
        late: float = 0.0,
        nonsense: float = 0.0,
        error: BaseException | type[ModelError] = ModelUnavailable,
    ) -> FaultyModel:
        """Return a `FaultyModel` around another one, whose faults stand in the history.

        Args:
            model, slow, failing, late, nonsense, error: as of a `FaultyModel`.

        Raises:
            InvalidOption: an option makes no sense.
        """
        self._count += 1

        def note(fault: Fault) -> None:
            actor = current_actor()
            target = "test" if actor is None else actor.path
            by = "" if fault.seconds is None else f" by {fault.seconds:.6f} s"
            self._site.fault(target, 0, f"model {model.name}: {fault.kind}{by}")

        return FaultyModel(
            model,
            seed=f"{self._site.seed} fault {self._count}",
            slow=slow,
            failing=failing,
            late=late,
            nonsense=nonsense,
            error=error,
            on_fault=note,
        )

    def disk_full(
        self,
        target: Any = None,
        *,
        records: int | None = None,
        bytes: int | None = None,  # noqa: A002 - that is what they are
        until: float | None = None,
    ) -> Injection:
        """Have writes of logs, traces and ledgers fail, because there is no room.

        Args:
            target: a path or a `DecisionLog`; None is all files.
            records: how many lines still fit.
            bytes: how many bytes still fit. Nothing does if neither is given.
            until: virtual seconds since the simulation began, when there is room again; None is
                never, or when `stop()` is called.

        Raises:
            InvalidOption: an option makes no sense.
        """
        full = self._made(FullDisk, path_of(target), records, bytes, until)
        # Before those that cut a write into pieces, as it counts whole lines.
        self.disk.faults.insert(0, full)
        return full

    def short_writes(self, target: Any = None, *, rate: float = 1.0) -> Injection:
        """Have writes of logs, traces and ledgers take a part of what they are given.

        Args:
            target: as for `disk_full`.
            rate: the share of writes.

        Raises:
            InvalidOption: an option makes no sense.
        """
        short = self._made(ShortWrites, path_of(target), rate)
        self.disk.faults.append(short)
        return short

    def exhaust(self, budget: Budget, *, at: int = 1) -> Injection:
        """Have a budget leave nothing to reserve, from one acquire on.

        Its cap becomes what is spent and reserved then, and is what it was after `stop()`.

        Args:
            budget: a pool or a lease.
            at: which acquire from it (or from below it) is the first to be refused, from 1.

        Raises:
            InvalidOption: an option makes no sense.
        """
        if not isinstance(budget, Budget):
            raise InvalidOption("budget", budget, "a BudgetPool or a Lease")
        check_count("at", at)
        exhaustion = self._made(Exhaustion, budget, at)
        self.on_message.append(exhaustion)
        return exhaustion

    # -- time --------------------------------------------------------------------------------------

    def clock_jump(self, seconds: float | tuple[float, float], *, rate: float) -> Injection:
        """Have time go on although there is work to do, so that timers and deadlines race with it.

        Args:
            seconds: of each jump; or the least and the most.
            rate: the share of steps after which it jumps.

        Raises:
            InvalidOption: an option makes no sense.
        """
        check_rate(rate)
        jump = self._made(Jump, self._kernel, check_span(seconds), rate, False)
        self._kernel.after_step.append(jump.step)
        return jump

    def wall_clock_jump(self, seconds: float | tuple[float, float], *, rate: float) -> Injection:
        """Have the clock on the wall (`clock.time()`) be set, forwards or backwards.

        `clock.monotonic()` never goes back and is left alone.

        Args:
            seconds: by how many, below zero is backwards; or the least and the most.
            rate: the share of steps after which it is set.

        Raises:
            InvalidOption: an option makes no sense.
        """
        check_rate(rate)
        span = check_span(seconds, least=-1e12)
        jump = self._made(Jump, self._kernel, span, rate, True)
        self._kernel.after_step.append(jump.step)
        return jump

    # -- what the recorder asks --------------------------------------------------------------------

    def delay_of(self, source: str, cell: Any, path: str, number: int) -> float | None:
        """Return in how many seconds a message is delivered; None is at once, 0.0 a step later."""
        delays = [d for late in self.late if (d := late.of(source, cell, path, number)) is not None]
        return sum(delays) if delays else None

    def handling(self, cell: Any, path: str, number: int, message: Any) -> After | None:
        """Raise what the actor is to fail with, or return what its result has to go through."""
        after = None
        for fault in self.on_message:
            after = fault.handling(cell, path, number, message) or after
        return after

    def starting(self, cell: Any) -> InjectedCrash | None:
        """Return what an actor that starts is to fail with, if it is."""
        path = cell.path
        for crash in self._on_start:
            if crash.due(cell, path):
                return crash.error(path, 0, "start")
        return None
