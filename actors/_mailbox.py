"""The two-lane mailbox: control before user messages, many senders, one reader at a time.

How a wake-up is never lost: there is a permit to read a mailbox, which only one can have. It is
taken from the moment somebody schedules the mailbox until its reader has found it empty. A sender
appends first and then tries to take the permit; the reader puts it back first and then looks again.
Whichever of them comes second sees the other.

The permit is item 0 of a dict: `permit.pop(0, 0)` is 1 for whoever gets it and 0 for all others,
and `permit[0] = 1` gives it back. Each is one operation of a container, which no other thread sees
half done (PEP 703 keeps that promise without the interpreter lock, too); measured, it takes half
the time of a lock where the permit is free, and a fifth where it is not. Item 1 is taken once, by
whoever closes the mailbox.

How a message is never lost at the end: `closed` is set before the lanes are emptied, and a sender
looks at it after it appended. Whichever comes second takes the message out (a `popleft` gives each
item to one of them only) and answers it.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from itertools import repeat
from operator import length_hint
from typing import Any, Literal, Protocol

import msgspec

from actors._answer import Answer, _get_running_loop
from actors._errors import InvalidOption, MailboxFull, WouldBlockLoop, WouldDeadlock
from actors._executing import Signal
from actors._threads import acquire
from actors._waiting import begin_wait, blocking, signal

__all__ = [
    "HIGH_WATER",
    "THROUGHPUT",
    "Bounded",
    "Dispatcher",
    "Mailbox",
    "Overflow",
    "Tally",
    "Unbounded",
    "renew_mailbox_locks",
]

HIGH_WATER = 10_000
"""Waiting messages at which an unbounded mailbox publishes one warning."""

THROUGHPUT = 64
"""User messages in one turn. Pekko has 5 and protoactor-go 300; measured here, a turn's cost is
lost in the noise from about 30 on, and the longest wait behind busy neighbours grows with it."""

Overflow = Literal["reject", "drop_new", "drop_old", "block"]
_OVERFLOWS = ("reject", "drop_new", "drop_old", "block")


class Unbounded(msgspec.Struct, frozen=True):
    """A mailbox without a limit (the default)."""


class Bounded(msgspec.Struct, frozen=True):
    """A mailbox for at most `capacity` user messages; the control lane is never bounded.

    Attributes:
        capacity: how many messages may wait.
        overflow: what happens to one more. "reject": its sender gets `MailboxFull`; "drop_new":
            it becomes a dead letter; "drop_old": the oldest does; "block": its sender waits.
    """

    capacity: int
    overflow: Overflow = "reject"

    def __post_init__(self) -> None:
        if isinstance(self.capacity, bool) or not isinstance(self.capacity, int):
            raise InvalidOption("capacity", self.capacity, "a whole number above zero")
        if self.capacity < 1:
            raise InvalidOption("capacity", self.capacity, "a whole number above zero")
        if self.overflow not in _OVERFLOWS:
            raise InvalidOption("overflow", self.overflow, "one of " + ", ".join(_OVERFLOWS))


_MANY = sys.maxsize


class Tally:
    """A counter that any thread may add to.

    `add` is a C call that cannot be interrupted half way, which `+= 1` could: it takes one of the
    many items of an iterator that knows how many are left.
    """

    __slots__ = ("_left", "add")

    def __init__(self) -> None:
        self._left = repeat(None, _MANY)
        self.add: Callable[[], object] = self._left.__next__

    @property
    def value(self) -> int:
        """How often `add` was called."""
        return _MANY - length_hint(self._left)


class Dispatcher(Protocol):
    """Who gives a mailbox its turns."""

    inline: bool
    """Whether a thread that waits for a reply may run the turn itself."""

    awaits: bool
    """Whether hooks may be coroutines."""

    submit: Callable[[Any], None]
    """Give the mailbox a turn soon; the caller holds its permit."""

    def take_here(self, mailbox: Any) -> None:
        """As `submit`, but on this thread and at once, for actors that are brief."""

    def lend(self, future: Any) -> None:
        """Take turns on the task that is about to await `future`, if that is of use."""

    def works(self) -> bool:
        """Tell whether turns will come; not so if the owner of a loop closed it too early."""

    def interrupt(self, mailbox: Any) -> None:
        """Cancel what its handler awaits, because the actor is being killed."""

    def interrupt_request(self, mailbox: Any, future: Any) -> None:
        """Cancel what its handler awaits, if it still handles the request of that future."""


class _Waiting:
    """A message that waits for room, and the thread that waits with it, if one does."""

    __slots__ = ("error", "item", "mailbox", "room")

    def __init__(self, mailbox: Mailbox, item: Any, room: Signal | None) -> None:
        self.mailbox: Mailbox | None = mailbox
        self.item = item
        self.room = room  # released once the message was taken, or refused
        self.error: WouldDeadlock | None = None

    plain = True
    advice = "use tell in one of the directions, or a larger mailbox"
    until = None

    def waits_for_cell(self) -> Any:
        return self.mailbox

    def waits_for_cells(self, waiting: Any) -> Iterable[Any]:  # noqa: ARG002 - others need it
        return () if self.mailbox is None else (self.mailbox,)

    def refuse(self, error: WouldDeadlock) -> bool:
        """Withdraw the message; whoever waits with a future is refused there."""
        mailbox = self.mailbox
        if mailbox is None or mailbox.bounds is None or self.room is None:
            return False
        with mailbox.bounds.lock:
            if self.mailbox is None:
                return False
            mailbox.bounds.waiting.remove(self)
            self.mailbox = None
        self.error = error
        self.room.release()
        return True


class _Bounds:
    """The guard of a bounded mailbox."""

    __slots__ = ("capacity", "lock", "overflow", "waiting")

    def __init__(self, options: Bounded) -> None:
        self.capacity = options.capacity
        self.overflow = options.overflow
        # Invariant: appends to the user lane of a bounded mailbox happen under this lock, so its
        # length never passes the capacity; the reader only makes it shorter.
        self.lock = threading.RLock()
        # Invariant: changes under `lock`; first come, first in. Who registers here looks at the
        # queue once more afterwards; who makes room looks here afterwards.
        self.waiting: deque[_Waiting] = deque()


class Mailbox:
    """The lanes of one actor, and the permit to read them.

    A user-lane item is the bare message, or a tuple `(message, future, context)` where there is
    more to carry: a future to answer, context variables to handle it with. (A message that is
    itself a tuple always travels in one.)
    """

    __slots__ = (
        "__weakref__",
        "bounds",
        "calm",
        "closed",
        "control",
        "count_sent",
        "direct",
        "dispatcher",
        "permit",
        "pulse",
        "queue",
        "submit",
    )

    def __init__(
        self, dispatcher: Dispatcher, options: Unbounded | Bounded | None, sent: Tally
    ) -> None:
        self.dispatcher = dispatcher
        self.submit = dispatcher.submit
        # Invariant: without item 0 while the mailbox is scheduled or being read, and for good once
        # it is closed; without item 1 from then on.
        self.permit = {0: 1, 1: 1}
        self.queue: deque[Any] = deque()
        self.control: deque[tuple[Any, tuple[Any, ...]]] | None = None
        # Invariant: every post to the control lane puts a new object here, so a reader that kept
        # the old one knows that it has to look.
        self.pulse: object = None
        # The pulse at which the reader last found nothing to look at; another means to look.
        self.calm: object = self
        self.closed = False
        self.bounds = _Bounds(options) if isinstance(options, Bounded) else None
        # Invariant: `bounds is None and not closed`: one look for a sender in a hurry.
        self.direct = self.bounds is None
        self.count_sent = sent.add

    def close(self) -> None:
        """Take no more; called once, before the lanes are emptied."""
        self.closed = True
        self.direct = False

    def put(self, item: Any) -> None:
        """Append to the user lane.

        Raises:
            MailboxFull: the mailbox is bounded, full, and rejects.
        """
        if self.bounds is None or self.closed:
            self.count_sent()
            self.queue.append(item)
        elif not self._put_bounded(self.bounds, item):
            return
        if self.permit.pop(0, 0):
            self.submit(self)
        if self.closed:
            self.bury()

    def post(self, operation: Any, *args: Any) -> None:
        """Append to the control lane: `operation(self, *args)` is run on the reader's turn."""
        control = self.control
        if control is None:
            control = self._open_control()
        control.append((operation, args))
        self._posted()

    def post_first(self, operation: Any, *args: Any) -> None:
        """Put in front of the control lane, for what cannot wait (a kill)."""
        control = self.control
        if control is None:
            control = self._open_control()
        control.appendleft((operation, args))
        self._posted()

    def _posted(self) -> None:
        self.pulse = object()
        if self.permit.pop(0, 0):
            self.submit(self)
        if self.closed:
            self.bury()

    def _open_control(self) -> deque[tuple[Any, tuple[Any, ...]]]:
        # Made late, since most actors never need one and an empty deque takes 600 bytes.
        with _open_control_lock:
            if self.control is None:
                self.control = deque()
            return self.control

    def _put_bounded(self, bounds: _Bounds, item: Any) -> bool:
        """Append as the policy has it; tell whether there may be something for the reader to do."""
        message, future, _ = item if type(item) is tuple else (item, None, None)
        dropped: Any = None
        waiting: _Waiting | None = None
        with bounds.lock:
            # A dead mailbox takes everything, to have it answered.
            if self.closed or (len(self.queue) < bounds.capacity and not bounds.waiting):
                self.count_sent()
                self.queue.append(item)
                return True
            if bounds.overflow == "drop_old":
                with contextlib.suppress(IndexError):  # the reader was quicker
                    dropped = self.queue.popleft()
                self.count_sent()
                self.queue.append(item)
            elif bounds.overflow == "block":
                waiting = self._get_in_line(bounds, item, future)
        if waiting is not None:
            return self._wait_for_room(bounds, waiting)
        if bounds.overflow == "drop_old":
            if dropped is not None:
                self.discard(dropped)
            return True
        if bounds.overflow == "drop_new":
            self.count_sent()
            self.discard(item)
            return False
        error = MailboxFull(self.describe(), bounds.capacity, message)
        if isinstance(future, Answer):
            future._fail(error)
            return False
        raise error

    def _get_in_line(self, bounds: _Bounds, item: Any, future: Any) -> _Waiting:
        """Register a message that waits for room; the caller holds the lock."""
        # The sender of a request has its future to wait for, with the timeout it was given.
        room = None
        if future is None:
            if _get_running_loop() is not None:
                raise WouldBlockLoop(
                    "ActorRef.tell() to a full mailbox", "`await ref.request(message)`"
                )
            room = signal()
        waiting = _Waiting(self, item, room)
        bounds.waiting.append(waiting)
        return waiting

    def _wait_for_room(self, bounds: _Bounds, waiting: _Waiting) -> bool:
        # The reader may have made room, or have died, between our look and our registration.
        if len(self.queue) < bounds.capacity or self.closed:
            self.freed()
            if self.permit.pop(0, 0):
                self.submit(self)
        if waiting.room is None or waiting.mailbox is None:
            return True
        me: Any = None
        try:
            me = begin_wait(waiting)
            with blocking():
                acquire(waiting.room, None, f"room in the mailbox of {self.describe()}")
        except BaseException as error:
            # A deadlock, or Ctrl-C: the message is withdrawn, unless it was taken meanwhile.
            with bounds.lock:
                taken = waiting.mailbox is None
                if not taken:
                    bounds.waiting.remove(waiting)
            if not taken or not isinstance(error, WouldDeadlock):
                raise
        finally:
            if me is not None:
                me.waits_for = None
        if waiting.error is not None:
            raise waiting.error
        return False

    def freed(self) -> None:
        """Take in what waits for room; called by the reader after it took messages out."""
        bounds = self.bounds
        if bounds is None or not bounds.waiting:
            return
        with bounds.lock:
            while bounds.waiting and (self.closed or len(self.queue) < bounds.capacity):
                waiting = bounds.waiting.popleft()
                self.count_sent()
                self.queue.append(waiting.item)
                waiting.mailbox = None
                if waiting.room is not None:
                    waiting.room.release()
        if self.closed:
            self.bury()

    def release(self) -> None:
        """Give the permit back; if there is more to read, have the mailbox scheduled again."""
        self.permit[0] = 1
        if self.queue or self.control:
            self.again()

    def again(self) -> None:
        """Take the permit back if there is something to do; the last step of a turn."""
        if self.has_work() and self.permit.pop(0, 0):
            self.submit(self)

    def has_work(self) -> bool:
        """Tell whether a turn would find something to do."""
        return bool(self.control) or bool(self.queue)

    def bury(self) -> None:
        """Empty both lanes of a closed mailbox and answer everything in them."""
        raise NotImplementedError

    def discard(self, item: Any) -> None:
        """Turn an item that was dropped by the overflow policy into a dead letter."""
        raise NotImplementedError

    def describe(self) -> str:
        """Return the path of the actor, for errors."""
        raise NotImplementedError


_open_control_lock = threading.RLock()


def renew_mailbox_locks() -> None:
    """Have locks that nobody holds, in a process that was forked with some that are held."""
    global _open_control_lock  # noqa: PLW0603 - the one lock of this module
    _open_control_lock = threading.RLock()
