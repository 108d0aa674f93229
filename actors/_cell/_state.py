"""What a cell is made of, and what its parts share.

Invariant of all the modules here: apart from what `Mailbox` shares with senders, the fields are
written only by whoever holds the permit, or before the first turn. Where another thread has to act
(an abandoned handler), the method says how it stays within what any thread may do.
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator
from types import CoroutineType
from typing import Any, Final, Protocol, cast

from loguru import logger
from pykka.messages import _ActorStop

from actors._answer import renew_answer_lock
from actors._children import Children
from actors._errors import CallboardError, UnexpectedCoroutine
from actors._future import Future
from actors._lifecycle import State
from actors._mailbox import Mailbox, renew_mailbox_locks
from actors._messages import DeadLetter, DeadLetterKind
from actors._ref import ActorRef, StopOrder
from actors._supervision import ChildSpec
from actors._timers import ScheduledCall

__all__ = [
    "IDLE",
    "LOCKS",
    "TAKEN",
    "UNMADE",
    "CellState",
    "KillOrder",
    "Parent",
    "Step",
    "complete",
    "is_cancellation",
    "stop_order_in",
]

TAKEN: Final = object()
"""In the place of the future of a request whose reply was taken over."""

UNMADE: Final = object()
"""In its place while nobody has wanted it: the asker is the thread that runs the handler."""


IDLE: Final = object()
"""In the place of the message of an actor that handles none."""


class _Locks:
    """Locks that all cells share; each is held for some instructions only."""

    __slots__ = ("late",)

    def __init__(self) -> None:
        # Invariant: what is made late (extras, urn) is made under it.
        self.late = threading.RLock()


LOCKS = _Locks()


def renew_locks() -> None:
    """Have locks that nobody holds, in a process that was forked with some that are held."""
    LOCKS.late = threading.RLock()
    renew_mailbox_locks()
    renew_answer_lock()


Step = Coroutine[Any, Any, None] | None
"""A step of the life cycle: None if it is done, or what is left to await of it."""


def complete(step: Coroutine[Any, Any, Any] | None) -> Any:
    """Carry out a step that does not suspend; the sync side of the life cycle.

    Raises:
        UnexpectedCoroutine: it did suspend: an async hook on an actor that is not on a loop.
    """
    if step is None:
        return None
    try:
        step.send(None)
    except StopIteration as stop:
        return stop.value
    step.close()
    raise UnexpectedCoroutine(
        "a coroutine of an actor on a thread wants to wait for something; leave `dispatcher` at "
        'None or set it to "loop"'
    )


class KillOrder:
    """One call of `kill`, until the actor has come to it."""

    __slots__ = ("life", "seen", "wanted")

    def __init__(self, *, wanted: bool) -> None:
        self.wanted = wanted  # whether it is final; if not, the supervisor decides
        self.seen = False
        self.life = 0  # which instance it ended, counted in restarts


class _Extras:
    """What few actors need, made when the first of it is."""

    __slots__ = ("owed", "stash", "stopped", "tape", "timers", "urn", "watchers", "watching")

    def __init__(self) -> None:
        self.owed: set[Future[Any]] = set()  # replies taken over and not given yet
        self.stopped: threading.Event | None = None
        self.stash: deque[Any] | None = None
        self.tape: deque[Any] | None = None  # the last messages, where they are recorded
        self.timers: dict[object, tuple[object, ScheduledCall]] = {}
        self.urn: str | None = None
        self.watchers: dict[object, CellState] = {}
        self.watching: dict[ActorRef[Any], object] = {}


class Parent(Protocol):
    """A cell, or a root of the tree."""

    children: Children | None

    @property
    def path(self) -> str:
        """Its place in the tree."""
        ...


class _Inbox:
    """The mailbox in pykka's terms, for code that puts envelopes itself."""

    __slots__ = ("_cell",)

    def __init__(self, cell: CellState) -> None:
        self._cell = cell

    def put(self, envelope: Any, /) -> None:
        self._cell.put((envelope.message, envelope.reply_to, None))

    def empty(self) -> bool:
        return not self._cell.queue

    def get(self) -> Any:
        raise CallboardError("only the runtime reads a mailbox")


class CellState(Mailbox):
    """The fields of a cell, its identity, and what its upper layers call."""

    __slots__ = (
        "asides",
        "asked",
        "attending",
        "began",
        "children",
        "extras",
        "frame",
        "heir",
        "hook",
        "instance",
        "interrupted",
        "item",
        "key",
        "kill_order",
        "lends",
        "own_ref",
        "parent",
        "promised",
        "reason",
        "receive",
        "restarts",
        "spec",
        "state",
        "stop_wanted",
        "stops",
        "suspended",
        "system",
        "then",
        "waits_for",
        "warned",
        "was_interrupted",
    )

    ref_type: type[ActorRef[Any]] = ActorRef

    def __init__(self, system: Any, spec: ChildSpec, key: str | int, parent: Parent) -> None:
        cls = spec.cls
        dispatcher = system.dispatcher_for(spec)
        Mailbox.__init__(self, dispatcher, spec.mailbox or cls.mailbox, system.sent)
        # Whether an asker's thread may run its turns.
        self.lends: bool = dispatcher.inline and not cls._may_reply_later
        if cls._brief:
            self.submit = dispatcher.take_here
        # Until `begin` is through, so that nobody takes a turn on a half-made actor.
        del self.permit[0]
        self.system = system
        self.spec = spec
        self.key = key
        self.parent = parent
        # Invariant: None once the actor is dead, or the two would wait for the garbage collector.
        self.own_ref: ActorRef[Any] | None = self.ref_type(self)
        self.state = State.NEW
        self.instance: Any = None
        self.receive: Any = None
        self.children: Children | None = None
        self.extras: _Extras | None = None
        # The future of the request being handled; TAKEN once its reply was taken over.
        self.asked: Any = None
        # Invariant: the message being handled, or handled last in this turn; IDLE between turns.
        self.item: Any = IDLE
        # Invariant: the name of the hook that runs or waits, set where it is called and cleared
        # where it is through; `item` is IDLE meanwhile. "__init__" counts as one.
        self.hook: str | None = None
        # When somebody first saw that it is at this, on the system's clock; see age().
        self.began: float | None = None
        # Invariant: not None only inside of `answer`, once the future was made after all.
        self.promised: Future[Any] | None = None
        # Invariant: while true, user messages wait (no instance, or it is ending).
        self.suspended = True
        self.reason: Any = None
        self.then = ""  # what follows the end of the instance: "die", "report" or "halt"
        self.stop_wanted = False
        self.stops: tuple[Future[bool], ...] = ()  # who waits for the end
        self.kill_order: KillOrder | None = None  # the latest
        # Invariant: true while a hook or something from the control lane runs.
        self.attending = False
        self.heir: Any = None  # what took this cell's place when it was abandoned
        # Why the running handler is being cancelled: "kill", "request".
        self.interrupted: Any = None
        self.was_interrupted = False  # whether the runtime cancelled something during this turn
        self.frame: Any = None  # the task in which an async turn runs
        self.restarts = 0
        self.warned = False
        # Invariant: not None only while this actor's own handler waits; see begin_wait.
        self.waits_for: Any = None
        # What tasks and threads of its handlers wait for, where any do; see Asides.
        self.asides: Any = None

    @property
    def ref(self) -> ActorRef[Any]:
        return self.own_ref or self.ref_type(self)

    @property
    def name(self) -> str:
        key = self.key
        return key if isinstance(key, str) else f"{self.spec.cls.__name__.lower()}-{key}"

    @property
    def path(self) -> str:
        # Not by the path of the parent: the tree may be deeper than the stack.
        parts = [self.name]
        above: Any = self.parent
        while isinstance(above, CellState):
            parts.append(above.name)
            above = above.parent
        parts.append(above.path)
        return "/".join(reversed(parts))

    def describe(self) -> str:
        return self.path

    @property
    def label(self) -> str:
        """What `str()` shows of the actor and of its reference."""
        return f"{self.spec.cls.__name__} ({self.path})"

    @property
    def urn(self) -> str:
        extras = self.more()
        if extras.urn is None:
            with LOCKS.late:
                extras.urn = extras.urn or uuid.uuid4().urn
        return extras.urn

    @property
    def inbox(self) -> _Inbox:
        return _Inbox(self)

    def more(self) -> _Extras:
        extras = self.extras
        if extras is None:
            fresh = _Extras()
            with LOCKS.late:
                if self.extras is None:
                    self.extras = fresh
                extras = self.extras
        return extras

    @property
    def siblings(self) -> Children:
        children = self.parent.children
        assert children is not None
        return children

    # -- being waited for --------------------------------------------------------------------

    # Of an asker that runs this cell's turn itself; see `Wait`.
    plain = True
    advice = "use tell in one of the directions, or answer with reply_later"
    until = None

    def waits_for_cell(self) -> CellState:
        return self

    def waits_for_cells(self, waiting: Any) -> Iterable[CellState]:  # noqa: ARG002 - others need it
        return (self,)

    def refuse(self, error: BaseException) -> bool:  # noqa: ARG002 - likewise
        """Its turn is being run and cannot be ended."""
        return False

    def within(self, wanted: Any) -> Iterator[CellState]:
        """Yield those whose turns its end has to wait for, or `wanted` alone if it is below.

        Children that are killed after some seconds hold it up no longer than that.
        """
        above = wanted
        while above is not None and above is not self:
            above = getattr(above, "parent", None)
        if above is not None:
            yield wanted
            return
        below = deque([self])
        while below:
            cell = below.popleft()
            yield cell
            if cell.children is not None:
                below.extend(c for c in cell.children.snapshot() if c.spec.shutdown is None)

    def start_wait(self) -> Children | None:
        """Return what its start waits for, if that has to come after the start of others."""
        siblings = self.parent.children
        return siblings if siblings is not None and siblings.starts_later(self.key) else None

    @property
    def in_turn(self) -> bool:
        """Whether somebody is inside of its turn (for sure), or one may be due (if not)."""
        return self.item is not IDLE or self.attending

    def age(self) -> float | None:
        """Return for how many seconds it is at its message or in its hook, or None if at nothing.

        Nobody looks at a clock for each message: it counts from when somebody looked here first.
        """
        if self.item is IDLE and self.hook is None:
            return None
        began = self.began
        now = self.now()
        if began is None:
            self.began = began = now
        return now - began

    def has_work(self) -> bool:
        return bool(self.control) or (bool(self.queue) and not self.suspended)

    def now(self) -> float:
        return cast("float", self.system.clock.monotonic())

    def _dead_letter(self, message: Any, kind: DeadLetterKind) -> None:
        self.system.dead_letter(DeadLetter(message, self.path, kind))

    def _unexpected(self, coroutine: CoroutineType[Any, Any, Any]) -> UnexpectedCoroutine:
        name = coroutine.__qualname__
        coroutine.close()
        return UnexpectedCoroutine(
            f"a handler of {self.path} returned the coroutine {name!r}, which nothing awaits; "
            "make on_receive `async def` and await it there"
        )

    async def _finish_hook(self, result: Any) -> None:
        if type(result) is CoroutineType or hasattr(result, "__await__"):
            if not self.dispatcher.awaits:
                result.close()
                raise UnexpectedCoroutine(
                    f"{self.path} runs on a thread, but a hook of it returned a coroutine; "
                    "define the hook with `async def`, or do not return it"
                )
            await result

    def log_failure(self, error: BaseException, what: str) -> None:
        """Log an exception that answers nobody."""
        logger.opt(exception=error).error("{} {}", self.path, what)

    def log_answer(self, error: BaseException) -> None:
        """Log an exception that answers a request; its requester has it, so this is for pykka."""

    def log_unexpected(self, message: Any) -> None:
        """Log a message that the actor does not handle."""
        logger.warning("unexpected message received by {}: {!r}", self.label, message)

    def _fail(self, error: BaseException) -> Step:
        """The instance has failed: end it, and have the supervisor decide."""
        raise NotImplementedError

    def order_stop(self, future: Future[bool] | None = None, *, drain: bool = True) -> None:
        """End for good, and answer the future when dead."""
        raise NotImplementedError

    def order_die(self) -> None:
        """End for good, the instance having ended."""
        raise NotImplementedError

    def order_halt(self) -> None:
        """End the instance, and report."""
        raise NotImplementedError

    def order_restart(self, reason: Any) -> None:
        """Build the next instance."""
        raise NotImplementedError

    def order_kill(self, *, wanted: bool = True) -> None:
        """End at once."""
        raise NotImplementedError


def stop_order_in(item: Any) -> StopOrder | None:
    """Return the order to stop that an item is, in our form or in pykka's."""
    if type(item) is StopOrder:
        return item
    message, future, _ = item if type(item) is tuple else (item, None, None)
    if type(message) is _ActorStop:
        return StopOrder(future, True)
    return None


def is_cancellation(error: BaseException) -> bool:
    return type(error).__name__ == "CancelledError" and not isinstance(error, Exception)
