"""What to do when a child ends: pure decisions, in OTP's words and with OTP's defaults.

`decide` looks at the restart window and says what happens to whom; the cell of the supervisor
executes it. Nothing here knows a thread, an event loop or a clock: `now` is an argument.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from actors._errors import InvalidOption

__all__ = [
    "DISPATCHERS",
    "AutoShutdown",
    "Backoff",
    "ChildSpec",
    "Decision",
    "DispatcherName",
    "Ending",
    "Restart",
    "Strategy",
    "Supervision",
    "comes_back",
    "decide",
]

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
Restart = Literal["permanent", "transient", "temporary"]
AutoShutdown = Literal["never", "any", "all"]
DispatcherName = Literal["pool", "loop", "pinned"]
Ending = Literal["normal", "failure"]

_STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")
_RESTARTS = ("permanent", "transient", "temporary")
_AUTO_SHUTDOWNS = ("never", "any", "all")
DISPATCHERS = ("pool", "loop", "pinned")


def _one_of(option: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InvalidOption(option, value, "one of " + ", ".join(map(repr, allowed)))


def _seconds(option: str, value: object, least: str = " above zero") -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not 0 <= value <= sys.float_info.max
        or (value == 0 and least == " above zero")
    ):
        raise InvalidOption(option, value, f"a finite number of seconds{least}")


def _writable(name: str) -> bool:
    # It will stand in logs and ledgers; half of a surrogate pair cannot.
    return name.isascii() or name.encode(errors="ignore").decode() == name


class Backoff(msgspec.Struct, frozen=True):
    """Growing delays between restarts: `min(max, min·2^n)·(1 + random·factor)` seconds.

    The count n goes back to zero after `(min + max) / 2` seconds without a failure (Pekko's
    BackoffSupervisor has the same rule).

    Attributes:
        min: the first delay in seconds, above zero.
        max: the longest delay in seconds, before jitter.
        factor: how much jitter, 0 to 1.
    """

    min: float
    max: float
    factor: float = 0.2

    def __post_init__(self) -> None:
        _seconds("Backoff.min", self.min)
        _seconds("Backoff.max", self.max)
        if self.max < self.min:
            raise InvalidOption("Backoff.max", self.max, f"at least min ({self.min:g})")
        factor: object = self.factor
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 <= factor <= 1:
            raise InvalidOption("Backoff.factor", factor, "a number from 0 to 1")

    def delay(self, failures: int, random: float) -> float:
        """Return the seconds to wait before a restart, after `failures` earlier ones.

        Args:
            failures: consecutive failures before this one.
            random: a number from 0 to 1.
        """
        # The exponent is capped so that a long-lived crash loop cannot overflow a float.
        base = min(self.max, self.min * 2.0 ** min(failures, 60))
        return base * (1 + random * self.factor)

    @property
    def reset_after(self) -> float:
        """Seconds without a failure after which the delay is back at `min`."""
        return (self.min + self.max) / 2


class Supervision(msgspec.Struct, frozen=True):
    """How an actor supervises its children (OTP's supervisor flags).

    Attributes:
        strategy: whom a failure restarts: the child, all, or it and those started after it.
        intensity: how many restarts are tolerated within `period`.
        period: length of the window in seconds.
        backoff: delays between restarts, or None to restart at once.
        auto_shutdown: whether the actor stops when significant children have ended by themselves.
    """

    strategy: Strategy = "one_for_one"
    intensity: int = 1
    period: float = 5.0
    backoff: Backoff | None = None
    auto_shutdown: AutoShutdown = "never"

    def __post_init__(self) -> None:
        _one_of("strategy", self.strategy, _STRATEGIES)
        _one_of("auto_shutdown", self.auto_shutdown, _AUTO_SHUTDOWNS)
        if isinstance(self.intensity, bool) or not isinstance(self.intensity, int):
            raise InvalidOption("intensity", self.intensity, "a whole number, 0 or more")
        if self.intensity < 0:
            raise InvalidOption("intensity", self.intensity, "a whole number, 0 or more")
        _seconds("period", self.period)
        backoff: object = self.backoff
        if backoff is not None and not isinstance(backoff, Backoff):
            raise InvalidOption("backoff", backoff, "a Backoff, or None")


class ChildSpec(msgspec.Struct, frozen=True):
    """What to start, and how to treat it (OTP's child specification).

    Attributes:
        cls: the actor class.
        args, kwargs: what its constructor gets, at every start.
        name: unique among living siblings; None takes a generated one.
        restart: permanent (always restarted), transient (after failures only), temporary (never).
        shutdown: seconds it gets to stop before it is killed, None for as long as it needs, or
            "brutal_kill" to kill it at once.
        mailbox: `Unbounded()` or `Bounded(n)`; None takes the class's own.
        dispatcher: who runs it; None chooses by whether its hooks are async.
        significant: whether its ending counts for its parent's `auto_shutdown`.
        crash_on: exception types that, raised while answering a request, also fail the actor.
    """

    cls: Any
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    name: str | None = None
    restart: Restart = "permanent"
    shutdown: float | Literal["brutal_kill"] | None = 5.0
    mailbox: Any = None
    dispatcher: DispatcherName | None = None
    significant: bool = False
    crash_on: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.cls, type):
            raise InvalidOption("cls", self.cls, "an Actor class")
        args: object = self.args
        if not isinstance(args, (tuple, list)):
            raise InvalidOption("args", args, "a tuple or list, such as (1,), even of one argument")
        kwargs: object = self.kwargs
        if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
            raise InvalidOption("kwargs", kwargs, "a dict from argument names to values")
        _one_of("restart", self.restart, _RESTARTS)
        if self.shutdown is not None and self.shutdown != "brutal_kill":
            _seconds("shutdown", self.shutdown, ", 0 or more, None or 'brutal_kill'")
        if self.dispatcher is not None:
            _one_of("dispatcher", self.dispatcher, DISPATCHERS)
        name: object = self.name
        if name is not None and (
            not isinstance(name, str) or not name or "/" in name or not _writable(name)
        ):
            raise InvalidOption(
                "name", self.name, "a non-empty string without '/' that UTF-8 can hold"
            )
        crash_on: object = self.crash_on
        if not isinstance(crash_on, tuple) or not all(
            isinstance(kind, type) and issubclass(kind, BaseException) for kind in crash_on
        ):
            raise InvalidOption("crash_on", crash_on, "a tuple of exception types")
        significant: object = self.significant
        if not isinstance(significant, bool):
            raise InvalidOption("significant", significant, "True or False")
        if significant and self.restart == "permanent":
            raise InvalidOption(
                "significant", self.significant, "False for a permanent child, which never ends"
            )


class Decision(msgspec.Struct, frozen=True):
    """What a supervisor does about the end of a child.

    Attributes:
        restart: positions of the children to restart, in start order.
        stop: positions of other children to stop for good, in start order.
        forget: whether the child that ended leaves the tree.
        escalate: whether the restart window is exceeded.
        shut_down: whether the supervisor itself stops (auto_shutdown).
        history: the restart window after this decision, oldest first, in seconds.
    """

    restart: tuple[int, ...] = ()
    stop: tuple[int, ...] = ()
    forget: bool = False
    escalate: bool = False
    shut_down: bool = False
    history: tuple[float, ...] = ()


def comes_back(spec: ChildSpec, ending: Ending) -> bool:
    """Tell whether a child that ended so is to be restarted."""
    return spec.restart == "permanent" or (spec.restart == "transient" and ending == "failure")


def decide(
    policy: Supervision,
    specs: Sequence[ChildSpec],
    ended: int,
    ending: Ending,
    history: tuple[float, ...],
    now: float,
) -> Decision:
    """Decide what happens after child number `ended` of `specs` has ended.

    Args:
        policy: the supervisor's policy.
        specs: its children in start order.
        ended: position of the one that ended.
        ending: "normal" if it ended itself, "failure" otherwise.
        history: times of the restarts so far, oldest first.
        now: the time on the same scale, in seconds.
    """
    if not comes_back(specs[ended], ending):
        return Decision(forget=True, shut_down=_shuts_down(policy, specs, ended), history=history)
    # OTP counts one restart per ending, however many siblings it takes along.
    oldest = bisect_left(history, True, key=lambda then: now - then <= policy.period)
    # Ten thousand children may fail in one period, so nothing is looked at one by one here.
    window = history[oldest:] + (now,)  # noqa: RUF005 - which would copy it twice more
    if len(window) > policy.intensity:
        return Decision(escalate=True, history=window)
    match policy.strategy:
        case "one_for_one":
            affected = range(ended, ended + 1)
        case "one_for_all":
            affected = range(len(specs))
        case "rest_for_one":
            affected = range(ended, len(specs))
    return Decision(
        # A temporary sibling is stopped with the others and never started again.
        restart=tuple(i for i in affected if i == ended or specs[i].restart != "temporary"),
        stop=tuple(i for i in affected if i != ended and specs[i].restart == "temporary"),
        history=window,
    )


def _shuts_down(policy: Supervision, specs: Sequence[ChildSpec], ended: int) -> bool:
    if not specs[ended].significant:
        return False
    if policy.auto_shutdown == "any":
        return True
    return policy.auto_shutdown == "all" and not any(
        spec.significant for i, spec in enumerate(specs) if i != ended
    )
