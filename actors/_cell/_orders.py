"""What others may order an actor to do, and what becomes of what nobody will handle.

An order is posted, or stands in the user lane in its place among the messages; the actor comes to
it in a turn of its own, and then does what `_life` says.
"""

from __future__ import annotations

from typing import Any

from actors._cell._life import Life
from actors._cell._state import Step, stop_order_in
from actors._errors import (
    ActorDeadError,
    ActorKilled,
    CallboardError,
    RequestCancelled,
    SystemStopped,
)
from actors._future import Future
from actors._lifecycle import State, advance
from actors._messages import DeadLetterKind
from actors._ref import StopOrder

__all__ = ["Orders"]

_STOPPING = State.STOPPING
"""Looked up once: finding a member of an enum takes as long as a call."""


class Orders(Life):
    """A cell that obeys, and that can be buried."""

    __slots__ = ()

    # -- orders from outside -------------------------------------------------------------------

    def order_stop(self, future: Future[bool] | None = None, *, drain: bool = True) -> None:
        waits: bool = self.suspended
        # If it fails before it comes to the order, it is not restarted. Any thread may set this:
        # it never becomes false again. It is set before `suspended` is looked at once more, and
        # `_wind_down` does both the other way round, so one of the two sees the other.
        self.stop_wanted = True
        if not drain or waits:
            self.post(Orders._op_stop, future, drain)
            if waits:
                self.bound_hooks()
            return
        # In its place in the user lane, so that what was queued before it runs.
        self.queue.append(StopOrder(future, True))
        if self.permit.pop(0, 0):
            self.submit(self)
        elif self.closed:
            self.bury()
        if self.suspended:
            self.post(Orders._op_stop_queued)
            self.bound_hooks()

    def _op_stop_queued(self) -> None:
        if self._is_between():
            self._give_up()

    def _op_stop(self, future: Future[bool] | None, drain: bool) -> Step:
        if future is not None:
            self.stops = (*self.stops, future)
        self.stop_wanted = True
        if self.state >= _STOPPING:
            return None
        if self._is_between():
            self._give_up()
        elif drain and self.state is State.RUNNING:
            self.queue.append(StopOrder(None, True))
        else:
            return self._wind_down(None, "die")
        return None

    def order_die(self) -> None:
        self.post(Orders._op_die)

    def _op_die(self) -> None:
        if self._is_between():
            self._give_up()

    def _give_up(self) -> None:
        """Die instead of waiting for a restart."""
        ended = self.instance is None
        state = self.state
        if state >= _STOPPING:
            return  # likewise
        self.state = advance(state, _STOPPING)
        self.then = "die"
        if ended:
            self._die()

    def order_halt(self) -> None:
        self.post(Orders._op_halt)

    def _op_halt(self) -> Step:
        if self.state in {State.RUNNING, State.STARTING} and not self.then:
            return self._wind_down(None, "halt")
        return None

    def order_restart(self, reason: Any) -> None:
        self.post(Life._op_restart, reason)

    def end_normally(self) -> None:
        if self.heir is not None:
            return  # the end it asks for has come
        self.queue.append(StopOrder(None, False))
        if self.permit.pop(0, 0):
            self.submit(self)
        if self.closed:
            self.bury()

    def _obey(self, order: StopOrder) -> Step:
        if order.future is not None:
            self.stops = (*self.stops, order.future)
        if self._is_between():
            if order.wanted:
                self._give_up()
        elif self.state < _STOPPING:
            return self._wind_down(None, "die" if order.wanted else "report")
        return None

    # -- what is left in the lanes --------------------------------------------------------------

    def bury(self) -> None:
        """Empty the lanes of a dead cell; any thread may, and each item goes to one of them."""
        control = self.control
        while control:
            try:
                operation, args = control.popleft()
            except IndexError:
                break
            if self.heir is not None:
                # Unless it is about the end of the old instance, which has come.
                if operation is Orders._op_stop:
                    self.heir.order_stop(args[0], drain=args[1])
                elif operation not in _OF_THE_INSTANCE:
                    self.heir.post(operation, *args)
            elif operation is Life._op_watched:
                token, watcher, ref = args
                reason = self.reason if self.reason is not None else "stopped"
                watcher.post(
                    Life._op_terminated,
                    token,
                    ref,
                    "killed" if isinstance(reason, ActorKilled) else reason,
                )
            elif operation in {Life._op_await_end, Orders._op_stop} and args[0] is not None:
                args[0]._resolve(1, value=True)
            elif operation is Orders._obey and args[0].future is not None:
                args[0].future._resolve(1, value=True)
        queue = self.queue
        while queue:
            try:
                item = queue.popleft()
            except IndexError:
                break
            order = stop_order_in(item)
            if order is not None:
                if self.heir is not None:
                    self.heir.order_stop(order.future)
                elif order.future is not None:
                    order.future._resolve(1, value=True)
            else:
                self.discard(item, "actor_dead")

    def discard(self, item: Any, kind: DeadLetterKind = "dropped") -> None:
        """Answer an item that will not be handled, and make it a dead letter."""
        order = stop_order_in(item)
        if order is not None:
            # Pushed out of a full mailbox: all that was queued before it is gone, so it is due.
            self.post(Orders._obey, order)
            return
        message, future, _ = item if type(item) is tuple else (item, None, None)
        if future is not None:
            error: CallboardError
            if kind == "dropped":
                error = RequestCancelled(f"the full mailbox of {self.path} dropped the request")
            else:
                error = ActorDeadError(f"{self.path} stopped before handling the message")
                if isinstance(self.reason, SystemStopped) and not self.dispatcher.works():
                    error = ActorDeadError(f"{self.path} is dead: {self.reason}")
                elif isinstance(self.reason, BaseException):
                    error.__cause__ = self.reason
            if isinstance(future, Future):
                future._fail(error)
            else:
                future.set_exception((type(error), error, None))
        self._dead_letter(message, kind)


_OF_THE_INSTANCE = frozenset(
    {
        Life._op_children_gone,
        Life._op_children_started,
        Orders._op_die,
        Life._op_escalate,
        Orders._op_halt,
        Life._op_shut_down,
    }
)
