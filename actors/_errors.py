"""Every error callboard raises, in one tree.

```
CallboardError
├── InvalidOption (ValueError)            an option you gave is out of range
│   └── UnknownModel                      no such model, or a file that is none
├── MissingExtra (ImportError)            an optional dependency is not installed
├── ActorDeadError (pykka.ActorDeadError) the target has stopped, crashed or was killed
├── ActorKilled                           the reason an actor hears in `on_failure` after `kill`
├── Timeout (pykka.Timeout, TimeoutError) `get(timeout=…)` gave up; the work goes on
│   └── WouldDeadlock (RuntimeError)      actors would wait for each other in a circle
├── DeadlineExceeded (TimeoutError)       the deadline of the work itself has passed
├── RequestCancelled                      somebody called `cancel()` on the future
├── AlreadySet (RuntimeError, queue.Full) a future was answered twice
├── WouldBlockLoop (RuntimeError)         a blocking call on an event loop's thread
├── TooManyWaiting (RuntimeError)         no thread is left for another handler that waits
├── FinalizerWaits (RuntimeError)         a `__del__` waits where that could be for ever
├── NoReplyExpected (RuntimeError)        `reply_later()` while handling a told message
├── UnexpectedCoroutine (TypeError)       a coroutine or generator that nothing would ever run
├── MailboxFull                           a bounded mailbox refused a message
├── StashOverflow                         a stash is full
├── NameTaken (ValueError)                a living sibling has that name
├── SystemStopped (RuntimeError)          the actor system is shut down or shutting down
│   └── ForkedSystem                      this process inherited a running system by fork
├── ForeignRef (ValueError, TypeError)    a reference to where it cannot work, or from there
├── RestartLimitExceeded                  a supervisor gave up on its children
├── BudgetExceeded                        a reservation or a charge goes past the cap
├── LedgerError                           the file of a budget cannot be opened, read or written
├── LogError                              the decision log
│   ├── LogCorrupt                        its file is damaged beyond a torn tail
│   └── LogClosed                         it was closed
├── TraceError                            the file of a tracer cannot be opened or written
├── NoHandler (LookupError)               nobody is subscribed to an emitted topic
└── ModelError                            a call to a model failed
    ├── ModelUnavailable                  refused, unreachable or a server error: may pass
    ├── ModelRateLimited                  asked to slow down: may pass after `retry_after`
    ├── ModelTimeout (TimeoutError)       no answer in time
    ├── ModelRejected                     the request itself was refused: will not pass
    ├── InvalidOutput (ValueError)        the answer is not what was asked for
    │   └── UnusableReply                 and it was paid for: the reply is kept in it
    └── ContextWindowExceeded (ValueError) the prompt does not fit the model
```

Errors carry their facts as attributes and build their wording from them.
"""

from __future__ import annotations

import queue
from collections.abc import Sequence
from typing import Any

import pykka

__all__ = [
    "ActorDeadError",
    "ActorKilled",
    "AlreadySet",
    "BudgetExceeded",
    "CallboardError",
    "ContextWindowExceeded",
    "DeadlineExceeded",
    "FinalizerWaits",
    "ForeignRef",
    "ForkedSystem",
    "InvalidOption",
    "InvalidOutput",
    "LedgerError",
    "LogClosed",
    "LogCorrupt",
    "LogError",
    "MailboxFull",
    "MissingExtra",
    "ModelError",
    "ModelRateLimited",
    "ModelRejected",
    "ModelTimeout",
    "ModelUnavailable",
    "NameTaken",
    "NoHandler",
    "NoReplyExpected",
    "RequestCancelled",
    "RestartLimitExceeded",
    "StashOverflow",
    "SystemStopped",
    "Timeout",
    "TooManyWaiting",
    "TraceError",
    "UnexpectedCoroutine",
    "UnknownModel",
    "UnusableReply",
    "WouldBlockLoop",
    "WouldDeadlock",
]


class CallboardError(Exception):
    """The root of the tree: catch this to catch everything callboard raises itself."""

    def __reduce__(self) -> Any:
        # Constructors take facts and make the text of them, so an error is not made anew by its
        # text, as exceptions are when they come out of a process pool.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(
    kind: type[CallboardError], args: tuple[Any, ...], facts: dict[str, Any]
) -> CallboardError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class InvalidOption(CallboardError, ValueError):
    """An option has a value that cannot work.

    Attributes:
        option: the option's name.
        value: what was given.
        expected: what would be right, in words.
    """

    def __init__(self, option: str, value: object, expected: str) -> None:
        self.option = option
        self.value = value
        self.expected = expected
        super().__init__(f"{option}={value!r}: expected {expected}")


class UnknownModel(InvalidOption):
    """A model specification names no model that exists here."""

    def __init__(self, spec: str, expected: str) -> None:
        super().__init__("model", spec, expected)


class MissingExtra(CallboardError, ImportError):
    """A feature needs an optional dependency that is not installed.

    Attributes:
        extra: the name of the extra to install.
    """

    def __init__(self, extra: str, fix: str | None = None) -> None:
        self.extra = extra
        how = fix or f"pip install 'callboard[{extra}]'"
        super().__init__(f"this needs the extra {extra!r}, which is not installed: {how}")


class ActorDeadError(CallboardError, pykka.ActorDeadError):
    """The actor cannot take or answer the message: it has stopped, crashed or was killed.

    Contrast `RequestCancelled` (you gave up) and `DeadlineExceeded` (time was up).
    """


class ActorKilled(CallboardError):
    """The actor was killed: its handler was cancelled, or abandoned if it was sync."""


class Timeout(CallboardError, pykka.Timeout, TimeoutError):
    """`Future.get(timeout=…)` gave up waiting; the request itself goes on.

    Attributes:
        seconds: how long the caller waited.
    """

    def __init__(self, seconds: float, what: str = "a reply") -> None:
        self.seconds = seconds
        super().__init__(f"no answer after {seconds:g} seconds while waiting for {what}")


class DeadlineExceeded(CallboardError, pykka.Timeout, TimeoutError):
    """The deadline of the work has passed: what still waited is not run any more.

    Attributes:
        late_by: seconds since the deadline, when that is known.
    """

    def __init__(self, what: str = "the work", late_by: float | None = None) -> None:
        self.late_by = late_by
        late = "" if late_by is None else f" (by {late_by:.3f} s)"
        super().__init__(f"the deadline of {what} has passed{late}")


class RequestCancelled(CallboardError):
    """The future was cancelled before it was answered."""


class AlreadySet(CallboardError, RuntimeError, queue.Full):
    """A future takes one answer only, and it has it.

    It is a `queue.Full` for code written for pykka, whose futures raise that.
    """


class WouldBlockLoop(CallboardError, RuntimeError):
    """A blocking call on a thread whose event loop it would stop.

    Args:
        call: what would have blocked.
        fix: what to write instead of that very call.
    """

    def __init__(self, call: str, fix: str) -> None:
        super().__init__(
            f"{call} would block the event loop that runs on this thread; write {fix} instead"
        )


class WouldDeadlock(Timeout, RuntimeError):
    """Actors would wait for each other in a circle, and no other gives up before this one.

    Raised where the circle would close, at once; it is also a `Timeout` (and so a `pykka.Timeout`
    and a `TimeoutError`), since an answer cannot come in time, whatever time was given.

    Attributes:
        actors: paths of those in the circle; the first is the last, too.
        seconds: zero, for nobody waited.
    """

    def __init__(
        self,
        actors: Sequence[str],
        advice: str = "use tell in one of the directions, or answer with reply_later",
    ) -> None:
        self.actors = tuple(actors)
        circle = " waits for ".join(self.actors[:2])
        circle += "".join(f", which waits for {path}" for path in self.actors[2:])
        self.seconds = 0.0
        # Past the constructor of Timeout, which has another text.
        super(Timeout, self).__init__(f"{circle}: none of them could go on; {advice}")


class FinalizerWaits(CallboardError, RuntimeError):
    """A finalizer (`__del__`) waits, and what it came in between may have to go on first.

    The garbage collector runs finalizers in the middle of anything, the runtime included, on any
    thread.

    Attributes:
        what: what it waits for.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(
            f"a finalizer waits for {what}, in the middle of what others may wait for; "
            "do not wait in __del__: use tell, stop(block=False) or shutdown() there"
        )


class TooManyWaiting(CallboardError, RuntimeError):
    """So many handlers wait on threads that there is none left to run another.

    As a rule they wait for each other: actors that ask others, which ask others, without end. (In
    a circle it is `WouldDeadlock`.)

    Attributes:
        threads: how many there are.
        depth: how many actors wait for each other in a row, or None if it was not that.
    """

    def __init__(self, threads: int, depth: int | None = None) -> None:
        self.threads = threads
        self.depth = depth
        what = (
            f"all {threads} threads that there can be are in handlers"
            if depth is None
            else f"{depth} actors wait for each other in a row, on {threads} threads"
        )
        super().__init__(
            f"{what}; if actors ask each other without end, end it, else make the handlers async, "
            "which wait without a thread"
        )


class NoReplyExpected(CallboardError, RuntimeError):
    """There is no request being handled whose reply could be taken over."""


class UnexpectedCoroutine(CallboardError, TypeError):
    """A hook gave a coroutine or a generator that nothing would ever run.

    Raised where a sync handler returned a coroutine, and where an actor is spawned one of whose
    hooks has a `yield` in it.
    """


class MailboxFull(CallboardError):
    """A bounded mailbox refused a message.

    Attributes:
        actor: path of the receiving actor.
        capacity: how many messages its mailbox holds.
        undelivered: the message, given back.
    """

    def __init__(self, actor: str, capacity: int, undelivered: object) -> None:
        self.actor = actor
        self.capacity = capacity
        self.undelivered = undelivered
        super().__init__(
            f"the mailbox of {actor} holds {capacity} messages and is full; slow down, "
            "raise its capacity, or choose another overflow policy"
        )


class StashOverflow(CallboardError):
    """An actor stashed more messages than its stash holds."""

    def __init__(self, actor: str, capacity: int) -> None:
        self.actor = actor
        self.capacity = capacity
        super().__init__(f"the stash of {actor} holds {capacity} messages and is full")


class NameTaken(CallboardError, ValueError):
    """A living sibling already has the name."""

    def __init__(self, name: str, parent: str) -> None:
        self.name = name
        self.parent = parent
        super().__init__(f"{parent} already has a living child named {name!r}")


class SystemStopped(CallboardError, RuntimeError):
    """The actor system is shut down, or shutting down, and starts nothing new."""


class ForkedSystem(SystemStopped):
    """This process inherited a running system by fork; its threads stayed in the parent."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the actor system {name!r} was started before this process was forked and does not "
            "run here; start a new ActorSystem in the child, or use the 'spawn' start method"
        )


class ForeignRef(CallboardError, ValueError, TypeError):
    """A reference is sent to another process, or comes from a runtime that is not callboard's.

    References of other systems in the same process are good for everything.
    """


class RestartLimitExceeded(CallboardError):
    """Children failed more often than their supervisor's intensity allows.

    Attributes:
        supervisor: path of the supervising actor.
        restarts: how many restarts were tried within the period.
        period: length of the window in seconds.
    """

    def __init__(self, supervisor: str, restarts: int, period: float) -> None:
        self.supervisor = supervisor
        self.restarts = restarts
        self.period = period
        super().__init__(
            f"the children of {supervisor} needed more than {restarts} restarts "
            f"within {period:g} seconds"
        )


class BudgetExceeded(CallboardError):
    """A reservation or a charge goes past a cap.

    Attributes:
        unit: "usd" or "tokens".
        cap, settled, reserved, asked: amounts in that unit (USD as Decimal, tokens as int).
        pool: name of the pool or lease whose cap it is.
        reply: the reply that was paid for, when settling its price raised this; else None.
    """

    reply: object = None

    def __init__(
        self, *, unit: str, cap: object, settled: object, reserved: object, asked: object, pool: str
    ) -> None:
        self.unit = unit
        self.cap = cap
        self.settled = settled
        self.reserved = reserved
        self.asked = asked
        self.pool = pool
        super().__init__(
            f"{pool}: {asked} {unit} asked, but of a cap of {cap} {unit} "
            f"{settled} are spent and {reserved} reserved"
        )


class LedgerError(CallboardError):
    """The file of a budget pool cannot be opened, read or written.

    A charge that gets it is booked in this process all the same, and its line is written with
    the next one that can be.
    """


class LogError(CallboardError):
    """The decision log could not do what was asked."""


class LogCorrupt(LogError):
    """The file is damaged in a way that a crash while writing does not explain."""


class LogClosed(LogError):
    """The decision log was closed and takes no more records."""


class TraceError(CallboardError):
    """The file of a tracer cannot be opened or written; the traced work goes on."""


class NoHandler(CallboardError, LookupError):
    """Nobody is subscribed to the topic that was emitted."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        super().__init__(f"no handler is subscribed to {topic!r}")


class ModelError(CallboardError):
    """A call to a model failed.

    Attributes:
        model: the model's name.
    """

    def __init__(self, model: str, detail: str) -> None:
        self.model = model
        self.detail = detail
        super().__init__(f"{model}: {detail}")


class ModelUnavailable(ModelError):
    """The endpoint refused the connection, broke it, or had an error of its own."""


class ModelRateLimited(ModelError):
    """The endpoint asked to slow down.

    Attributes:
        retry_after: seconds the endpoint asked to wait, or None.
    """

    def __init__(self, model: str, detail: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(model, detail)


class ModelTimeout(ModelError, TimeoutError):
    """The model did not answer in time."""


class ModelRejected(ModelError):
    """The request itself was refused (credentials, an unknown model, bad arguments)."""


class InvalidOutput(ModelError, ValueError):
    """The answer is not what was asked for: nonsense, or not of the schema."""


class UnusableReply(InvalidOutput):
    """The answer arrived and was paid for, but is not what was asked for.

    Attributes:
        reply: the `Reply` as it came, with its usage and its cost.
    """

    def __init__(self, model: str, detail: str, reply: object) -> None:
        self.reply = reply
        super().__init__(model, detail)


class ContextWindowExceeded(ModelError, ValueError):
    """The prompt and the room for an answer do not fit the model's context.

    Attributes:
        tokens: what the call needs.
        window: what the model has.
    """

    def __init__(self, model: str, tokens: int, window: int) -> None:
        self.tokens = tokens
        self.window = window
        super().__init__(
            model, f"{tokens} tokens do not fit a context of {window}; split the input"
        )
