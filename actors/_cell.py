"""The engine of one actor: its turns, its life, its failures.

A cell is a mailbox that knows what to do with what is in it. Whoever holds its `active` lock runs
its turn and is the only one to change what belongs to the actor; everybody else posts to the
control lane. The same life cycle serves sync and async actors: it is written as coroutines, which
a thread drives with `complete` (they must not suspend there) and a loop awaits.
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any, Final, Protocol, cast

from loguru import logger
from pykka._introspection import get_attr_directly
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr, _ActorStop

from actors._children import KILL_GRACE, Children
from actors._context import RUN
from actors._errors import (
    ActorDeadError,
    ActorKilled,
    CallboardError,
    DeadlineExceeded,
    NoReplyExpected,
    RequestCancelled,
    StashOverflow,
    SystemStopped,
    UnexpectedCoroutine,
)
from actors._future import Future
from actors._lifecycle import State, advance
from actors._mailbox import HIGH_WATER, Mailbox, renew_mailbox_locks
from actors._messages import (
    ActorRestarted,
    ActorStopped,
    DeadLetter,
    DeadLetterKind,
    MailboxHigh,
    Terminated,
)
from actors._ref import SPECIAL, ActorRef, StopOrder
from actors._supervision import ChildSpec, Ending
from actors._timers import ScheduledCall

__all__ = ["THROUGHPUT", "Cell", "complete"]

THROUGHPUT: Final = 64
"""User messages in one turn. Pekko has 5 and protoactor-go 300; measured here, a turn's cost is
lost in the noise from about 30 on, and the longest wait behind busy neighbours grows with it."""

_PROXIED = frozenset({ProxyCall, ProxyGetAttr, ProxySetAttr})
_death = threading.Lock()
_TAKEN: Final = object()


def complete(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that does not suspend; the sync side of the life cycle.

    Raises:
        UnexpectedCoroutine: it did suspend: an async hook on an actor that is not on a loop.
    """
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise UnexpectedCoroutine(
        "a coroutine of an actor on a thread wants to wait for something; leave `dispatcher` at "
        'None or set it to "loop"'
    )


class _KillOrder:
    """One call of `kill`, until the actor has come to it."""

    __slots__ = ("life", "seen", "wanted")

    def __init__(self, *, wanted: bool) -> None:
        self.wanted = wanted  # whether it is final; if not, the supervisor decides
        self.seen = False
        self.life = 0  # which instance it ended, counted in restarts


class _Extras:
    """What few actors need, made when the first of it is."""

    __slots__ = ("owed", "stash", "stops", "timers", "urn", "watchers", "watching")

    def __init__(self) -> None:
        self.owed: set[Future[Any]] = set()  # replies taken over and not given yet
        self.stash: deque[Any] | None = None
        self.stops: list[Future[bool]] = []  # who waits for the end
        self.timers: dict[object, tuple[object, ScheduledCall]] = {}
        self.urn: str | None = None
        self.watchers: dict[object, Cell] = {}
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

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def put(self, envelope: Any, /) -> None:
        self._cell.put((envelope.message, envelope.reply_to, None))

    def empty(self) -> bool:
        return not self._cell.queue

    def get(self) -> Any:
        raise CallboardError("only the runtime reads a mailbox")


class Cell(Mailbox):
    """One actor as the engine sees it.

    Invariant: apart from what `Mailbox` shares with senders, fields are written only by whoever
    holds `active`, or before the first turn.
    """

    __slots__ = (
        "asked",
        "children",
        "extras",
        "frame",
        "heir",
        "in_turn",
        "instance",
        "interrupted",
        "item",
        "key",
        "kill_order",
        "parent",
        "reason",
        "receive",
        "ref",
        "restarts",
        "spec",
        "state",
        "stop_wanted",
        "suspended",
        "system",
        "then",
        "warned",
        "was_interrupted",
    )

    def __init__(self, system: Any, spec: ChildSpec, key: str | int, parent: Parent) -> None:
        super().__init__(system.dispatcher_for(spec), spec.mailbox or spec.cls.mailbox, system.sent)
        # Held until `begin` is through, so that nobody takes a turn on a half-made actor.
        self.active.acquire()
        self.system = system
        self.spec = spec
        self.key = key
        self.parent = parent
        self.ref: ActorRef[Any] = ActorRef(self, spec.cls)
        self.state = State.NEW
        self.instance: Any = None
        self.receive: Any = None
        self.children: Children | None = None
        self.extras: _Extras | None = None
        # The future of the request being handled; _TAKEN once its reply was taken over.
        self.asked: Any = None
        self.item: Any = None
        # Invariant: while true, user messages wait (no instance, or it is ending).
        self.suspended = True
        self.reason: Any = None
        self.then = ""  # what follows the end of the instance: "die", "report" or "halt"
        self.stop_wanted = False
        self.kill_order: _KillOrder | None = None  # the latest
        # Invariant: false only while nobody is inside of a turn (though one may be due).
        self.in_turn = False
        self.heir: Cell | None = None  # what took this cell's place when it was abandoned
        # Why the running handler is being cancelled: "kill", "request".
        self.interrupted: Any = None
        self.was_interrupted = False  # whether the runtime cancelled something during this turn
        self.frame: Any = None  # the task in which an async turn runs
        self.restarts = 0
        self.warned = False

    # -- identity ----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        key = self.key
        return key if isinstance(key, str) else f"{self.spec.cls.__name__.lower()}-{key}"

    @property
    def path(self) -> str:
        return f"{self.parent.path}/{self.name}"

    def describe(self) -> str:
        return self.path

    @property
    def urn(self) -> str:
        extras = self.more()
        if extras.urn is None:
            with _death:
                extras.urn = extras.urn or uuid.uuid4().urn
        return extras.urn

    @property
    def inbox(self) -> _Inbox:
        return _Inbox(self)

    def more(self) -> _Extras:
        extras = self.extras
        if extras is None:
            fresh = _Extras()
            with _death:
                if self.extras is None:
                    self.extras = fresh
                extras = self.extras
        return extras

    def stopped_event(self) -> threading.Event:
        event = threading.Event()
        if self.closed:
            event.set()
        else:
            self.order_notice(event.set)
        return event

    def order_notice(self, call: Any) -> None:
        """Have `call()` made when the actor is dead."""
        future: Future[bool] = Future()
        future.add_done_callback(lambda _: call())
        self.post(Cell._op_await_end, future)

    # -- coming to life ----------------------------------------------------------------------

    def begin(self, announce: Callable[[], object]) -> None:
        """Construct the instance on the caller's thread and make the actor run.

        Args:
            announce: called between the two, so that nobody hears of the end before the start.
        """
        try:
            self._build()
        except BaseException as error:
            # There never was an actor; what was sent to its name by now is answered.
            self.state = State.STOPPING
            self.reason = error
            if self.children is not None:
                self.children.stop_all()
            self._settle_debts()
            self._die()
            raise
        announce()
        self.state = advance(self.state, State.STARTING)
        if self.spec.cls.on_start is _NO_ON_START:
            self.state = State.RUNNING
            self.suspended = False
        else:
            self.post(Cell._op_start)
        self.release()

    def _build(self) -> None:
        spec = self.spec
        instance = spec.cls.__new__(spec.cls, *spec.args, **spec.kwargs)
        instance._cell = self  # noqa: SLF001 - the cell and its actor are one thing in two layers
        instance.__init__(*spec.args, **spec.kwargs)
        self.instance = instance
        self.receive = instance.on_receive

    async def _op_start(self, *, restarted: bool = False) -> None:
        if self.state is not State.STARTING:
            return
        try:
            result = self.instance.on_start()
            if result is not None:
                await self._finish_hook(result)
        except BaseException as error:  # noqa: BLE001 - a failing start is a failure
            await self._fail(error)
            return
        if self.state is State.STARTING:
            self.state = State.RUNNING
            self.suspended = False
            if restarted:
                self.siblings.started(self)

    async def _op_restart(self, reason: Any) -> None:
        if self.state is not State.RESTARTING or self.then == "die":
            return
        self.state = advance(self.state, State.STARTING)
        self.then = ""
        self.restarts += 1
        self.interrupted = None
        if self.children is not None:
            self.children.reopen()
        self.system.publish(ActorRestarted(self.ref, self.path, reason))
        try:
            self._build()
        except BaseException as error:  # noqa: BLE001 - likewise
            await self._fail(error)
            return
        await self._op_start(restarted=True)

    async def _finish_hook(self, result: Any) -> None:
        if type(result) is CoroutineType or hasattr(result, "__await__"):
            if not self.dispatcher.awaits:
                result.close()
                raise UnexpectedCoroutine(
                    f"{self.path} runs on a thread, but a hook of it returned a coroutine; "
                    "define the hook with `async def`, or do not return it"
                )
            await result

    @property
    def siblings(self) -> Children:
        children = self.parent.children
        assert children is not None  # noqa: S101 - whoever has a parent is one of its children
        return children

    # -- turns -------------------------------------------------------------------------------

    def run(self, until: Future[Any] | None = None) -> int:
        """Take a turn on this thread; return how many messages were handled.

        Args:
            until: a future after whose answer the turn ends early, because its thread waits for
                nothing else, and what comes next may block (perhaps until that thread goes on).
        """
        self.in_turn = True
        handled = 0
        left = THROUGHPUT
        queue = self.queue
        while True:
            pulse = self.pulse
            if self.closed:
                return handled
            if until is not None and until._state:  # noqa: SLF001 - one mechanism in two modules
                break
            if self.control:
                complete(self._attend())
                continue
            if self.suspended or not left or not queue:
                break
            receive = self.receive
            # The fast path. Invariant: between two messages, `pulse` tells whether anything but
            # the next message has to be looked at (control, a failure, the actor's end).
            while queue and left and self.pulse is pulse:
                left -= 1
                try:
                    item = queue.popleft()
                except IndexError:
                    break
                if type(item) in SPECIAL:
                    handled += self._run_special(item)
                    if until is not None and until._state:  # noqa: SLF001 - likewise
                        break
                    continue
                self.item = item
                try:
                    result = receive(item)
                except BaseException as error:  # noqa: BLE001 - all that ends a handler is a failure
                    self._dead_letter(item, "failed")
                    complete(self._fail(error))
                else:
                    handled += 1
                    if type(result) is CoroutineType:
                        handled -= 1
                        self._dead_letter(item, "failed")
                        complete(self._fail(self._unexpected(result)))
        self._after_turn()
        return handled

    async def run_async(self) -> int:
        """Take a turn on the event loop; return how many messages were handled."""
        self.in_turn = True
        handled = 0
        left = THROUGHPUT
        queue = self.queue
        while True:
            pulse = self.pulse
            if self.closed:
                return handled
            if self.control:
                await self._attend()
                continue
            if self.suspended or not left or not queue:
                break
            receive = self.receive
            while queue and left and self.pulse is pulse:
                left -= 1
                try:
                    item = queue.popleft()
                except IndexError:
                    break
                if type(item) in SPECIAL:
                    handled += await self._run_special_async(item)
                    continue
                self.item = item
                try:
                    result = receive(item)
                    if type(result) is CoroutineType:
                        await result
                    handled += 1
                except BaseException as error:  # noqa: BLE001 - likewise
                    self._dead_letter(item, "failed")
                    await self._fail(error)
        self._after_turn()
        return handled

    def _after_turn(self) -> None:
        self.item = None
        if self.bounds is not None:
            self.freed()
        elif not self.warned and len(self.queue) > HIGH_WATER:
            self.warned = True
            self.system.publish(MailboxHigh(self.ref, self.path, len(self.queue)))
        self.in_turn = False
        self.release()

    def has_work(self) -> bool:
        return bool(self.control) or (bool(self.queue) and not self.suspended)

    async def _attend(self) -> None:
        """Do everything that waits in the control lane."""
        control = self.control
        while control and not self.closed:
            operation, args = control.popleft()
            result = operation(self, *args)
            if result is not None:
                await result

    # -- one message -------------------------------------------------------------------------

    def _admit(self, item: Any) -> tuple[Any, Any, Any] | None:
        """Unpack an item; None if it must not be handled any more."""
        if type(item) is not tuple:
            return item, None, None
        future = item[1]
        if type(future) is Future:
            if future._when is not None and not future._state:  # noqa: SLF001 - one mechanism
                late = self.now() - future._when  # noqa: SLF001
                if late >= 0:
                    future._fail(DeadlineExceeded(f"a request to {self.path}", late))  # noqa: SLF001
            if future._state:  # noqa: SLF001
                kind: DeadLetterKind = "cancelled" if future.cancelled() else "expired"
                self._dead_letter(item[0], kind)
                return None
        return cast("tuple[Any, Any, Any]", item)

    def _invoke(self, message: Any) -> Any:
        """Call the handler, or what a proxy wants."""
        if type(message) not in _PROXIED:
            return self.receive(message)
        if isinstance(message, ProxyCall):
            return get_attr_directly(self.instance, message.attr_path)(
                *message.args, **message.kwargs
            )
        if isinstance(message, ProxyGetAttr):
            return get_attr_directly(self.instance, message.attr_path)
        parent = get_attr_directly(self.instance, message.attr_path[:-1])
        return setattr(parent, message.attr_path[-1], message.value)

    def _run_special(self, item: Any) -> int:
        order = _stop_order_in(item)
        if order is not None:
            complete(self._obey(order))
            return 0
        admitted = self._admit(item)
        if admitted is None:
            return 0
        message, future, context = admitted
        token = RUN.set(context) if context is not None else None
        self.item = message
        self.asked = future
        try:
            result = self._invoke(message)
            if type(result) is CoroutineType:
                raise self._unexpected(result)  # noqa: TRY301 - handled as what handlers raise
        except BaseException as error:  # noqa: BLE001 - it is the answer, or a failure
            return complete(self._not_handled(message, future, error))  # type: ignore[no-any-return]
        else:
            if future is not None and self.asked is future:
                self._answer(future, result)
            return 1
        finally:
            self.asked = None
            if token is not None:
                RUN.reset(token)

    async def _run_special_async(self, item: Any) -> int:
        order = _stop_order_in(item)
        if order is not None:
            await self._obey(order)
            return 0
        admitted = self._admit(item)
        if admitted is None:
            return 0
        message, future, context = admitted
        token = RUN.set(context) if context is not None else None
        self.item = message
        self.asked = future
        try:
            result = self._invoke(message)
            if type(result) is CoroutineType:
                result = await result
        except BaseException as error:  # noqa: BLE001 - it is the answer, or a failure
            return await self._not_handled(message, future, error)
        else:
            if future is not None and self.asked is future:
                self._answer(future, result)
            return 1
        finally:
            self.asked = None
            if self.interrupted == "request":
                self._forget_interruption()
            if token is not None:
                RUN.reset(token)

    def _forget_interruption(self) -> None:
        # The task goes on with other messages, and must not look cancelled to their handlers
        # (a TaskGroup asks).
        self.interrupted = None
        if self.frame is not None and self.frame.cancelling():
            self.frame.uncancel()

    def _answer(self, future: Any, result: Any) -> None:
        if isinstance(future, Future):
            if not future._resolve(1, result):  # noqa: SLF001 - one mechanism in two modules
                self.system.late_reply(result, self.path)
        else:
            future.set(result)  # a pykka future, put into the inbox by hand

    async def _not_handled(self, message: Any, future: Any, error: BaseException) -> int:
        """Deal with what a handler raised; tell whether the message counts as handled."""
        if _is_cancellation(error) and self.interrupted == "request":
            # Its requester gave it up, which is no failure; the future has its answer already.
            return 1
        if future is None:
            self._dead_letter(message, "failed")
            await self._fail(error)
            return 0
        answer: BaseException = error
        if _is_cancellation(error):
            answer = ActorDeadError(f"{self.path} was cancelled while it handled the request")
            answer.__cause__ = error
        if isinstance(future, Future):
            if not future._fail(answer):  # noqa: SLF001 - likewise
                self.system.late_reply(answer, self.path)
        else:
            future.set_exception((type(answer), answer, answer.__traceback__))
        if not isinstance(error, Exception) or isinstance(
            error, (MemoryError, *self.spec.crash_on)
        ):
            await self._fail(error)
        return 1

    def _unexpected(self, coroutine: CoroutineType[Any, Any, Any]) -> UnexpectedCoroutine:
        name = coroutine.__qualname__
        coroutine.close()
        return UnexpectedCoroutine(
            f"{self.path} runs on a thread, but its handler returned the coroutine {name!r} which "
            "nothing awaits there; make on_receive `async def` and await it"
        )

    def _dead_letter(self, message: Any, kind: DeadLetterKind) -> None:
        self.system.dead_letter(DeadLetter(message, self.path, kind))

    # -- endings -----------------------------------------------------------------------------

    async def _fail(self, error: BaseException) -> None:
        """The instance has failed: end it, and have the supervisor decide."""
        if self.state >= State.STOPPING or self.then:
            # It fails while it ends; there is nothing left to decide.
            logger.opt(exception=error).error("{} failed while it was ending", self.path)
            return
        if self.interrupted == "kill":
            error = ActorKilled(f"{self.path} was killed")
        logger.opt(exception=error).error("{} failed", self.path)
        await self._wind_down(error, "die" if self.stop_wanted else "report")
        if not isinstance(error, Exception) and not _is_cancellation(error):
            self.system.non_exception(self, error)

    async def _obey(self, order: StopOrder) -> None:
        if order.future is not None:
            self.more().stops.append(order.future)
        if self.state is State.RESTARTING:
            if order.wanted:
                await self._give_up()
        elif self.state < State.STOPPING:
            await self._wind_down(None, "die" if order.wanted else "report")

    async def _wind_down(self, reason: Any, then: str) -> None:
        """End the instance: the children first, in reverse order, then the hook."""
        self.state = advance(self.state, State.STOPPING if then == "die" else State.RESTARTING)
        self.then = then
        self.reason = reason
        self.suspended = True
        self.item = None  # what failed is not for `stash` in the hooks to come
        self.pulse = object()
        self._cancel_timers()
        if self.children is not None:
            self.children.stop_all()  # posts _op_children_gone
        else:
            await self._end_instance()

    def _cancel_timers(self) -> None:
        extras = self.extras
        if extras is not None:
            for _, scheduled in extras.timers.values():
                scheduled.cancel()
            extras.timers.clear()

    async def _op_children_gone(self) -> None:
        if self.then and self.suspended:
            await self._end_instance()

    async def _end_instance(self) -> None:
        instance, self.instance, self.receive = self.instance, None, None
        if instance is not None:
            reason = self.reason
            self.instance = instance  # the hook may still use what an actor can do
            try:
                if isinstance(reason, BaseException):
                    result = instance.on_failure(type(reason), reason, reason.__traceback__)
                else:
                    result = instance.on_stop()
                if result is not None:
                    await self._finish_hook(result)
            except BaseException as error:  # noqa: BLE001 - a failing hook is the reason it died
                logger.opt(exception=error).error("{} failed in its last hook", self.path)
                if not isinstance(reason, BaseException):
                    self.reason = error
            self.instance = None
        self._settle_debts()
        if self.closed:
            return  # abandoned while the hook ran
        if self.then == "die":
            self._die()
            return
        ending: Ending = "failure" if isinstance(self.reason, BaseException) else "normal"
        self.siblings.report(self, ending, self.reason)

    def _settle_debts(self) -> None:
        """Let go of what belonged to the instance, not to the mailbox."""
        extras = self.extras
        if extras is None:
            return
        cause = self.reason if isinstance(self.reason, BaseException) else None
        for future in list(extras.owed):
            error = ActorDeadError(f"{self.path} ended before it gave the reply it owed")
            error.__cause__ = cause
            future._fail(error)  # noqa: SLF001 - likewise
        extras.owed.clear()
        for ref, token in list(extras.watching.items()):
            ref._cell.post(Cell._op_unwatched, token)  # noqa: SLF001 - likewise
        extras.watching.clear()
        if extras.stash:
            self.queue.extendleft(reversed(extras.stash))
            extras.stash.clear()

    def _die(self) -> None:
        """Be dead: the last thing that happens to a cell, once, whoever comes first."""
        with _death:
            if self.closed:
                return
            self.closed = True
        self.state = State.STOPPED
        self.pulse = object()
        self.instance = self.receive = None
        self.bury()
        if self.bounds is not None:
            self.freed()
        reason = self.reason if self.reason is not None else "stopped"
        if isinstance(reason, ActorKilled):
            reason = "killed"
        self.system.publish(ActorStopped(self.ref, self.path, reason))
        self.system.cell_ended(self)
        self.siblings.ended(self)
        extras = self.extras
        if extras is None:
            return
        for future in extras.stops:
            future._resolve(1, value=True)  # noqa: SLF001 - likewise
        for token, watcher in list(extras.watchers.items()):
            watcher.post(Cell._op_terminated, token, self.ref, reason)

    def bury(self) -> None:
        """Empty the lanes of a dead cell; any thread may, and each item goes to one of them."""
        control = self.control
        while control:
            try:
                operation, args = control.popleft()
            except IndexError:
                break
            if self.heir is not None:
                self.heir.post(operation, *args)
            elif operation is Cell._op_watched:
                token, watcher = args
                reason = self.reason if self.reason is not None else "stopped"
                watcher.post(
                    Cell._op_terminated,
                    token,
                    self.ref,
                    "killed" if isinstance(reason, ActorKilled) else reason,
                )
            elif operation in {Cell._op_await_end, Cell._op_stop} and args[0] is not None:
                args[0]._resolve(1, value=True)  # noqa: SLF001 - likewise
            elif operation is Cell._obey and args[0].future is not None:
                args[0].future._resolve(1, value=True)  # noqa: SLF001 - likewise
        queue = self.queue
        while queue:
            try:
                item = queue.popleft()
            except IndexError:
                break
            order = _stop_order_in(item)
            if order is not None:
                if self.heir is not None:
                    self.heir.order_stop(order.future)
                elif order.future is not None:
                    order.future._resolve(1, value=True)  # noqa: SLF001 - likewise
            else:
                self.discard(item, "actor_dead")

    def discard(self, item: Any, kind: DeadLetterKind = "dropped") -> None:
        """Answer an item that will not be handled, and make it a dead letter."""
        order = _stop_order_in(item)
        if order is not None:
            # Pushed out of a full mailbox: all that was queued before it is gone, so it is due.
            self.post(Cell._obey, order)
            return
        message, future, _ = item if type(item) is tuple else (item, None, None)
        if future is not None:
            error: CallboardError
            if kind == "dropped":
                error = RequestCancelled(f"the full mailbox of {self.path} dropped the request")
            else:
                error = ActorDeadError(f"{self.path} stopped before handling the message")
                if isinstance(self.reason, BaseException):
                    error.__cause__ = self.reason
            if isinstance(future, Future):
                future._fail(error)  # noqa: SLF001 - likewise
            else:
                future.set_exception((type(error), error, None))
        self._dead_letter(message, kind)

    # -- orders from outside -----------------------------------------------------------------

    def order_stop(self, future: Future[bool] | None = None, *, drain: bool = True) -> None:
        if drain and not self.suspended:
            # In its place in the user lane, so that what was queued before it runs.
            self.queue.append(StopOrder(future, wanted=True))
            self.post(Cell._op_stop_queued)
        else:
            self.post(Cell._op_stop, future, drain)

    async def _op_stop_queued(self) -> None:
        # If it fails before it comes to the order, it is not restarted.
        self.stop_wanted = True
        if self.state is State.RESTARTING:
            await self._give_up()

    async def _op_stop(self, future: Future[bool] | None, drain: bool) -> None:
        if future is not None:
            self.more().stops.append(future)
        self.stop_wanted = True
        if self.state >= State.STOPPING:
            return
        if self.state is State.RESTARTING:
            await self._give_up()
        elif drain and self.state is State.RUNNING:
            self.queue.append(StopOrder(None, wanted=True))
        else:
            await self._wind_down(None, "die")

    def order_die(self) -> None:
        self.post(Cell._op_die)

    async def _op_die(self) -> None:
        if self.state is State.RESTARTING:
            await self._give_up()

    async def _give_up(self) -> None:
        """Die instead of waiting for a restart."""
        ended = self.instance is None
        self.state = advance(self.state, State.STOPPING)
        self.then = "die"
        if ended:
            self._die()

    def order_halt(self) -> None:
        self.post(Cell._op_halt)

    async def _op_halt(self) -> None:
        if self.state in {State.RUNNING, State.STARTING} and not self.then:
            await self._wind_down(None, "halt")

    def order_restart(self, reason: Any) -> None:
        self.post(Cell._op_restart, reason)

    def order_kill(self, *, wanted: bool = True) -> None:
        if self.closed:
            if self.heir is not None:
                self.heir.order_kill(wanted=wanted)
            return
        order = self.kill_order = _KillOrder(wanted=wanted)
        self.post_first(Cell._op_kill, order)
        self.dispatcher.interrupt(self)
        self.system.timers.call_later(KILL_GRACE, self._abandon, order)

    def kill_pending(self) -> bool:
        """Tell whether a kill was ordered that the actor has not come to yet."""
        order = self.kill_order
        return order is not None and not order.seen

    async def _op_kill(self, order: _KillOrder) -> None:
        order.seen = True
        order.life = self.restarts
        self.interrupted = None
        error = ActorKilled(f"{self.path} was killed")
        self._kill_children()
        if self.state is State.RESTARTING:
            if order.wanted:
                await self._give_up()
        elif self.state < State.STOPPING:
            await self._wind_down(error, "die" if order.wanted or self.stop_wanted else "report")

    def _kill_children(self) -> None:
        for child in self.children.snapshot() if self.children is not None else ():
            child.order_kill()

    def _abandon(self, order: _KillOrder, *, again: bool = True) -> None:
        """Let the actor count as dead although its handler does not return.

        Runs on the timer thread, so it only does what any thread may do: `_die` happens once and
        takes from the lanes item by item. The thread inside the handler finds the cell closed.
        """
        if self.closed or (order.seen and not self._still_ends(order)):
            return
        later = self.system.timers.call_later
        if not self.in_turn:
            # Nobody is stuck in it: its turn is yet to come, behind busy neighbours.
            later(KILL_GRACE, self._abandon, order)
            return
        if order.seen and again:
            # It is ending, but slowly, in a hook: one more grace.
            later(4 * KILL_GRACE, lambda: self._abandon(order, again=False))
            return
        self._kill_children()
        self.reason = ActorKilled(f"{self.path} was killed, and abandoned in its handler")
        logger.warning("{} was abandoned: its handler does not return", self.path)
        self.system.abandoned(self.path)
        future = self.asked
        if isinstance(future, Future):
            future._fail(ActorDeadError(f"{self.path} was killed"))  # noqa: SLF001 - likewise
        if order.wanted or self.stop_wanted:
            self._settle_debts()
            self._die()
        else:
            self._succeed()

    def _still_ends(self, order: _KillOrder) -> bool:
        """Tell whether the instance that the order ended is still in its last hook."""
        return self.restarts == order.life and self.instance is not None and bool(self.then)

    def _succeed(self) -> None:
        """Put a fresh cell in the place of this abandoned one, and have it restarted."""
        heir = Cell(self.system, self.spec, self.key, self.parent)
        heir.ref = self.ref
        heir.state = State.RESTARTING
        heir.then = "report"
        heir.reason = self.reason
        heir.restarts = self.restarts
        with _death:
            if self.closed:
                return
            self.heir = heir
            self.closed = True
        # What the old instance still tries, it tries as a dead actor.
        self.state = State.STOPPED
        self.pulse = object()
        self._cancel_timers()
        heir.extras, self.extras = self.extras, None
        # Before anybody can send to the heir, or a sender's messages would overtake each other.
        while self.queue:
            try:
                heir.queue.append(self.queue.popleft())
            except IndexError:
                break
        heir._settle_debts()
        self.ref._cell = heir  # noqa: SLF001 - likewise
        self.siblings.replace(heir)
        heir.release()
        self.bury()
        self.freed()
        self.siblings.report(heir, "failure", self.reason)

    # -- requests that are given up ----------------------------------------------------------

    def now(self) -> float:
        return cast("float", self.system.clock.monotonic())

    def expire_at(self, when: float, future: Future[Any]) -> None:
        seconds = max(0.0, when - self.now())
        scheduled = self.system.timers.call_later(seconds, future._expire)  # noqa: SLF001
        # Or a reply would be kept in memory until its deadline.
        if not future._add_callback(lambda _: scheduled.cancel()):  # noqa: SLF001
            scheduled.cancel()

    def request_given_up(self, future: Future[Any]) -> None:
        if self.asked is future:
            self.dispatcher.interrupt_request(self, future)

    # -- what the actor itself may do (called by its instance, within its turn) ---------------

    def spawn(self, spec: ChildSpec) -> ActorRef[Any]:
        if self.state >= State.STOPPING:
            raise SystemStopped(f"{self.path} is stopping and starts no more children")
        if self.children is None:
            self.children = Children(
                self.spec.cls.supervision,
                self.system.clock,
                self.system.timers,
                self.describe,
                lambda error: self.post(Cell._op_escalate, error),
                lambda: self.post(Cell._op_shut_down),
                lambda: self.post(Cell._op_children_gone),
            )
        return cast("ActorRef[Any]", self.system.spawn_under(self.children, spec, self))

    def _op_escalate(self, error: BaseException) -> Any:
        return self._fail(error)

    async def _op_shut_down(self) -> None:
        if self.state < State.STOPPING and not self.then:
            await self._wind_down(None, "report")

    def child_refs(self) -> tuple[ActorRef[Any], ...]:
        return tuple(c.ref for c in self.children.snapshot()) if self.children is not None else ()

    def end_normally(self) -> None:
        if self.heir is not None:
            return  # the end it asks for has come
        self.queue.append(StopOrder(None, wanted=False))
        if self.active.acquire(blocking=False):
            self.dispatcher.submit(self)
        if self.closed:
            self.bury()

    def take_reply(self) -> Future[Any] | None:
        future = self.asked
        if not isinstance(future, Future):
            return None
        self.asked = _TAKEN
        owed = self.more().owed
        owed.add(future)
        future.add_done_callback(owed.discard)
        return future

    def watch(self, ref: ActorRef[Any]) -> None:
        token = object()
        self.unwatch(ref)
        self.more().watching[ref] = token
        ref._cell.post(Cell._op_watched, token, self)  # noqa: SLF001 - likewise

    def _op_watched(self, token: object, watcher: Cell) -> None:
        self.more().watchers[token] = watcher

    def unwatch(self, ref: ActorRef[Any]) -> None:
        token = self.more().watching.pop(ref, None)
        if token is not None:
            ref._cell.post(Cell._op_unwatched, token)  # noqa: SLF001 - likewise

    def _op_unwatched(self, token: object) -> None:
        self.more().watchers.pop(token, None)

    async def _op_terminated(self, token: object, ref: ActorRef[Any], reason: Any) -> None:
        watching = self.more().watching
        if watching.get(ref) is not token:
            return
        if self.state is State.STARTING:
            # The constructor watched it; on_start comes first, and is in the lane.
            self.post(Cell._op_terminated, token, ref, reason)
        elif not self.suspended:
            del watching[ref]
            await self._signal(Terminated(ref, reason))

    def _op_await_end(self, future: Future[bool]) -> None:
        self.more().stops.append(future)

    async def _signal(self, message: Any) -> None:
        """Hand the actor a message that is not in its user lane."""
        self.item = message
        try:
            result = self.receive(message)
            if type(result) is CoroutineType:
                if not self.dispatcher.awaits:
                    raise self._unexpected(result)  # noqa: TRY301 - told messages fail alike
                await result
        except BaseException as error:  # noqa: BLE001 - as for any told message
            await self._fail(error)
        finally:
            self.item = None

    def start_timer(self, key: object, message: Any, after: float, every: bool) -> None:
        self.cancel_timer(key)
        token = object()
        scheduled = self.system.timers.call_later(
            after, self.post, Cell._op_timer, key, token, message, after if every else None
        )
        self.more().timers[key] = (token, scheduled)

    def cancel_timer(self, key: object) -> None:
        entry = self.more().timers.pop(key, None)
        if entry is not None:
            entry[1].cancel()

    def has_timer(self, key: object) -> bool:
        return key in self.more().timers

    async def _op_timer(
        self, key: object, token: object, message: Any, every: float | None
    ) -> None:
        timers = self.more().timers
        entry = timers.get(key)
        # A replaced or cancelled timer has another token, or none: what it queued is void.
        if entry is None or entry[0] is not token:
            return
        if self.state is State.STARTING:
            # The constructor started it; on_start comes first, and is in the lane.
            self.post(Cell._op_timer, key, token, message, every)
            return
        if every is None:
            del timers[key]
        await self._signal(message)
        # Unless the handler cancelled or replaced it, or failed.
        if every is not None and timers.get(key) is entry:
            self.start_timer(key, message, every, every=True)

    def stash(self) -> None:
        if self.item is None:
            raise NoReplyExpected("there is no message being handled that could be stashed")
        extras = self.more()
        if extras.stash is None:
            extras.stash = deque()
        if len(extras.stash) >= self.spec.cls.stash_capacity:
            raise StashOverflow(self.path, self.spec.cls.stash_capacity)
        future = self.asked if isinstance(self.asked, Future) else None
        if future is not None:
            self.asked = _TAKEN
        extras.stash.append((self.item, future, RUN.get()))
        # It will be handled once more, which is one more message in the balance.
        self.count_sent()

    def unstash_all(self) -> None:
        stash = self.more().stash
        if stash:
            self.queue.extendleft(reversed(stash))
            stash.clear()


def renew_locks() -> None:
    """Have locks that nobody holds, in a process that was forked with some that are held."""
    global _death  # noqa: PLW0603 - see above
    _death = threading.Lock()
    renew_mailbox_locks()


_NO_ON_START: Any = None


def bind_defaults(actor: type[Any]) -> None:
    """Learn what the hooks of the base class are, to skip those that nobody overrode."""
    global _NO_ON_START  # noqa: PLW0603 - set once, when `_system` is imported
    _NO_ON_START = actor.on_start


def _stop_order_in(item: Any) -> StopOrder | None:
    """Return the order to stop that an item is, in our form or in pykka's."""
    if type(item) is StopOrder:
        return item
    message, future, _ = item if type(item) is tuple else (item, None, None)
    if type(message) is _ActorStop:
        return StopOrder(future, wanted=True)
    return None


def _is_cancellation(error: BaseException) -> bool:
    return type(error).__name__ == "CancelledError" and not isinstance(error, Exception)
