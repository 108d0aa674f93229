"""References to actors: what one may do with an actor from outside.

An `ActorRef` is a `pykka.ActorRef`, so proxies and the registry take it. It stays valid through
restarts, is safe to pass around, and keeps the actor's mailbox (never its user instance) alive.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Generic, Literal, Protocol, TypeVar, cast, overload

import pykka
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr, _ActorStop

from actors._answer import _get_running_loop
from actors._context import CARRY, RUN, context_to_carry
from actors._deadline import Deadline
from actors._errors import ActorDeadError, ForeignRef, InvalidOption, WouldBlockLoop
from actors._future import Future
from actors._mailbox import Mailbox
from actors._options import LONGEST, NUMBERS, flag, patience

__all__ = ["SPECIAL", "ActorRef", "StopOrder", "Target", "own_ref"]

A = TypeVar("A", bound=pykka.Actor)

_get_run = RUN.get

_DEVELOPMENT = sys.flags.dev_mode
"""Whether requests note where they were sent, which costs some 0.3 µs each (`python -X dev`)."""


def _time_to_live(timeout: Any) -> float:
    """Judge what did not look like seconds above zero at first sight."""
    with suppress(InvalidOption):
        seconds = patience(timeout)
        if seconds > 0:
            return seconds
    raise InvalidOption("timeout", timeout, "a number of seconds above zero, or None")


def own_ref(ref: Any) -> ActorRef[Any]:
    """Return `ref` if it is a reference to one of our actors.

    Raises:
        ForeignRef: it is one of pykka's own.
        InvalidOption: it is none.
    """
    if isinstance(ref, ActorRef):
        return ref
    if isinstance(ref, pykka.ActorRef):
        raise ForeignRef(
            f"{ref} runs on a thread of pykka's, which does not tell of its end; derive its class "
            "from actors.Actor to have it watched or in a group"
        )
    raise InvalidOption("ref", ref, "an ActorRef, as `spawn` returns it")


def _place_of_sender() -> str:
    """Return the file, line and function that called into the runtime."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(("actors.", "pykka.")):
        frame = frame.f_back
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}"


class Ended(Future[bool]):
    """Answered when an actor is dead, which takes the end of all below it."""

    __slots__ = ()

    plain = False
    advice = "stop it without waiting for its end: stop(block=False)"

    def waits_for_cells(self, waiting: Any) -> Iterable[Any]:
        cell = self.waits_for_cell()
        return () if cell is None else cell.within(waiting)


class StopOrder:
    """The mark in the user lane at which an actor stops, after what was queued before it."""

    __slots__ = ("future", "wanted")

    def __init__(self, future: Future[bool] | None, wanted: bool) -> None:
        self.future = future
        # Whether it came from outside (a wanted end, final) or is the actor's own normal end,
        # after which its supervisor decides by its restart type.
        self.wanted = wanted


SPECIAL: frozenset[type] = frozenset(
    {tuple, StopOrder, ProxyCall, ProxyGetAttr, ProxySetAttr, _ActorStop}
)
"""Types of user-lane items that are not simply handed to `on_receive`."""


class Target(Protocol):
    """What a reference needs of the cell behind it, beyond its mailbox."""

    system: Any

    def order_stop(self, future: Future[bool] | None = None, *, drain: bool = True) -> None:
        """Stop for good."""

    def order_kill(self, *, wanted: bool = True) -> None:
        """End at once."""


class _Unbuilt:
    """Stands for the instance of an actor that has none yet, for proxies to look at.

    It shows the attributes of the class, and those of the instance once there is one.
    """

    __slots__ = ("_ref",)

    def __init__(self, ref: ActorRef[Any]) -> None:
        self._ref = ref

    @property  # type: ignore[misc]  # nobody assigns it
    def __class__(self) -> Any:
        return self._ref.actor_class

    @property
    def __dict__(self) -> Any:  # type: ignore[override]  # likewise
        return getattr(self._ref._cell.instance, "__dict__", {})

    def _shown(self) -> Any:
        found = self._ref._cell.instance
        return self._ref.actor_class if found is None else found

    def __dir__(self) -> list[str]:
        return dir(self._shown())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shown(), name)

    def __str__(self) -> str:
        return str(self._ref)

    def __eq__(self, other: object) -> bool:
        return type(other) is _Unbuilt and other._ref is self._ref

    def __hash__(self) -> int:
        return hash(self._ref)


class ActorRef(pykka.ActorRef[A], Generic[A]):
    """A reference to an actor, returned by `spawn` and `start`."""

    __slots__ = ("_cell",)

    _cell: Any

    def __init__(self, cell: Mailbox) -> None:
        # pykka's constructor is not called: what it copies is made here when it is asked for.
        self._cell = cell

    # -- pykka's attributes ------------------------------------------------------------------

    @property
    def actor_class(self) -> type[A]:  # type: ignore[override]
        """The actor's class."""
        return cast("type[A]", self._cell.spec.cls)

    # pykka declares these as attributes; nobody assigns them, so properties serve.
    @property
    def actor_urn(self) -> str:  # type: ignore[override]
        """The actor's universally unique name."""
        return cast("str", self._cell.urn)

    @property
    def actor_inbox(self) -> Any:  # type: ignore[override]
        """The actor's mailbox, in pykka's terms."""
        return self._cell.inbox

    @property
    def actor_stopped(self) -> threading.Event:  # type: ignore[override]
        """An event that is set once the actor is dead."""
        self._cell.system.check_process()
        return cast("threading.Event", self._cell.stopped_event())

    @property
    def _actor_weakref(self) -> Callable[[], Any]:  # type: ignore[override]
        # The actor may be between two instances, and the reference is good all the same.
        def instance() -> Any:
            found = self._cell.instance
            return _Unbuilt(self) if found is None else found

        return instance

    @property
    def path(self) -> str:
        """The actor's place in its system's tree, such as "/team/writer"."""
        return cast("str", self._cell.path)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return cast("str", self._cell.name)

    @property
    def system(self) -> Any:
        """The system the actor lives in."""
        return self._cell.system

    def __str__(self) -> str:
        return cast("str", self._cell.label)

    def __repr__(self) -> str:
        return f"<ActorRef for {self}>"

    def __reduce__(self) -> Any:
        raise ForeignRef(
            f"{self} lives in this process; a reference to it cannot be pickled. Send the other "
            "process what it needs as data, and start an ActorSystem of its own there"
        )

    # -- messages ----------------------------------------------------------------------------

    def _is_dead(self) -> ActorDeadError:
        system = self.system
        if system._terminated.is_set():
            fix = f"its system {system.name!r} was shut down; spawn it in a new one"
        elif not self._cell.dispatcher.works():
            fix = f"the event loop of {system.name} was closed before the system stopped"
        else:
            fix = "watch it to hear of its end, and spawn a new one"
        return ActorDeadError(f"{self} is dead: {fix}")

    def is_alive(self) -> bool:
        """Tell whether the actor still takes messages, from this process."""
        return not (self._cell.closed or self._cell.system._forked)

    def proxy(self) -> pykka.ActorProxy[A]:
        """Return a `pykka.ActorProxy` of the actor.

        Raises:
            ActorDeadError: the actor is dead.
            ForkedSystem: this process inherited the reference by fork.
        """
        self._cell.system.check_process()
        if self._cell.closed:
            raise self._is_dead()
        return super().proxy()

    def tell(self, message: Any) -> None:
        """Send a message without waiting for an answer.

        Raises:
            ActorDeadError: the actor is dead.
            MailboxFull: its mailbox is bounded, full, and rejects.
        """
        cell = self._cell
        run = _get_run()
        if run is not None or type(message) is tuple:
            message = (message, None, run and context_to_carry())
        if not cell.direct:
            if cell.closed:
                raise self._is_dead()
            cell.put(message)
            return
        # From here on as in Mailbox.put, whose reasoning it follows; in line, because a call
        # more would cost a tenth of a tell.
        cell.count_sent()
        cell.queue.append(message)
        if cell.permit.pop(0, 0):
            cell.submit(cell)
        elif cell.closed:  # whose permit is taken for good
            cell.bury()

    def request(self, message: Any, *, timeout: float | None = None) -> Future[Any]:
        """Send a message and return the future of its answer.

        Args:
            message: what to send.
            timeout: seconds until the request is given up. It travels with the message: if it
                passes while the message waits, the message is not run. A deadline of the current
                run applies as well.

        Raises:
            InvalidOption: `timeout` is not a number of seconds above zero.
        """
        future: Future[Any] = Future()
        cell = self._cell
        if _DEVELOPMENT:
            future._place = f"requested of {self.path} at {_place_of_sender()}"
        if cell.closed:
            future._fail(self._is_dead())
            return future
        cell.put((message, future, self._limit(cell, future, timeout)))
        return future

    def _limit(self, cell: Any, future: Future[Any], timeout: float | None) -> Any:
        """Bind the future to its target and time; return the context that goes along."""
        future._requestee = cell
        context = context_to_carry()
        run = None if context is None else _get_run()
        if timeout is not None:
            if type(timeout) not in NUMBERS or not 0 < timeout < LONGEST:
                timeout = _time_to_live(timeout)
            clock = cell.system.clock
            future._when = clock.monotonic() + timeout
            if context is not None and run is not None and run is not CARRY:
                run = run.child(deadline=Deadline.at(future._when, clock=clock))
                context.run(RUN.set, run)
        if run is not None and run.deadline is not None:
            future._when = run.deadline.when
        return context

    @overload
    def ask(
        self, message: Any, *, block: Literal[False], timeout: float | None = None
    ) -> Future[Any]: ...

    @overload
    def ask(
        self, message: Any, *, block: Literal[True] = True, timeout: float | None = None
    ) -> Any: ...

    @overload
    def ask(
        self, message: Any, *, block: bool = True, timeout: float | None = None
    ) -> Any | Future[Any]: ...

    def ask(
        self, message: Any, *, block: bool = True, timeout: float | None = None
    ) -> Any | Future[Any]:
        """Send a message and wait for its answer (pykka's form; see `request`).

        Args:
            message: what to send.
            block: False returns the future instead of waiting.
            timeout: seconds to wait at most; the request goes on, as in pykka. (The timeout of
                `request` travels with the message and gives it up.) With `block=False` nobody
                waits here, so it is not looked at, as in pykka: give it to the future's `get`.

        Raises:
            InvalidOption: `timeout` is no number of seconds; nothing was sent.
            Timeout: no answer after `timeout` seconds.
            DeadlineExceeded: the deadline of the current run passed (it is a `pykka.Timeout`, too).
            ActorDeadError: the actor is dead, or died before it answered.
            WouldBlockLoop: an event loop runs on this thread.
            Exception: what the handler raised.
        """
        if not block:
            return self.request(message)
        if _get_running_loop() is not None:
            raise WouldBlockLoop("ActorRef.ask()", "`reply = await ref.request(message)`")
        cell = self._cell
        if cell.closed:
            raise self._is_dead()
        if (
            timeout is None
            and cell.direct
            and cell.calm is cell.pulse
            and not cell.queue
            and type(message) not in SPECIAL
            and ((run := _get_run()) is None or run is CARRY)
            and cell.lends
            and cell.permit.pop(0, 0)
        ):
            # Nobody is in its turn, so this thread, which has nothing else to do, takes it.
            try:
                return cell.dispatcher.answer_here(cell, message)
            except RecursionError as error:
                if error.__traceback__ is None or error.__traceback__.tb_next is None:
                    cell.permit[0] = 1  # there was not even the stack to begin
                raise
        if timeout is not None and (type(timeout) not in NUMBERS or not 0 <= timeout < LONGEST):
            timeout = patience(timeout)
        future: Future[Any] = Future()
        item = (message, future, self._limit(cell, future, None))
        if timeout is None and future._when is None and cell.bounds is None and cell.lends:
            # Nobody may be given up in time, so this thread may as well run the turn itself.
            cell.count_sent()
            cell.queue.append(item)
            if cell.permit.pop(0, 0):
                cell.dispatcher.run_here(cell, future)
            if cell.closed:
                cell.bury()
        else:
            cell.put(item)
        if not future._state:
            future._wait(timeout)
        return future._result()

    @overload
    def stop(
        self, *, block: Literal[True] = True, timeout: float | None = None, drain: bool = True
    ) -> bool: ...

    @overload
    def stop(
        self, *, block: Literal[False], timeout: float | None = None, drain: bool = True
    ) -> Future[bool]: ...

    @overload
    def stop(
        self, *, block: bool = True, timeout: float | None = None, drain: bool = True
    ) -> bool | Future[bool]: ...

    def stop(
        self, *, block: bool = True, timeout: float | None = None, drain: bool = True
    ) -> bool | Future[bool]:
        """Stop the actor for good; its supervisor does not restart it.

        Args:
            block: False returns the future instead of waiting.
            timeout: seconds to wait at most, when blocking; the stop goes on. Not looked at
                with `block=False`, as in pykka.
            drain: whether what was queued before is handled first. False stops after the message
                that is being handled; what waits becomes dead letters.

        Returns:
            True once it is dead; False if it already was.

        Raises:
            InvalidOption: `timeout` is no number of seconds, or `block` or `drain` no bool; nothing
                was stopped.
            Timeout: it is not dead after `timeout` seconds.
            WouldDeadlock: its end takes that of the handler that waits for it; it goes on.
            WouldBlockLoop: an event loop runs on this thread and `block` is true.
        """
        flag("block", block)
        flag("drain", drain)
        if block and _get_running_loop() is not None:
            raise WouldBlockLoop("ActorRef.stop()", "`await ref.stop(block=False)`")
        if block and timeout is not None:
            timeout = patience(timeout)
        future = Ended()
        cell = self._cell
        if cell.closed:
            future._resolve(1, value=False)
        else:
            future._requestee = cell
            cell.order_stop(future, drain=drain)
        return future.get(timeout=timeout) if block else future

    def kill(self) -> None:
        """End the actor at once, without waiting for its handler.

        An async handler is cancelled at its next await. A sync handler cannot be interrupted: it
        is abandoned, and what it does later has no effect on the actor. To the supervisor it is
        a failure (OTP's exit reason "kill"), which restarts permanent and transient children.
        """
        self._cell.order_kill(wanted=False)
