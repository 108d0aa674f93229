"""What an actor may do beside handling messages: owe replies, watch, keep timers, stash."""

from __future__ import annotations

import threading
from collections import deque
from types import CoroutineType
from typing import Any

from actors._cell._state import IDLE, LOCKS, TAKEN, UNMADE, CellState
from actors._context import context_to_carry
from actors._errors import ActorDeadError, NoReplyExpected, StashOverflow
from actors._future import Future
from actors._lifecycle import State
from actors._messages import Terminated
from actors._ref import ActorRef

__all__ = ["Duties"]


class Duties(CellState):
    """The duties of a cell; called by its instance within its turn, or from the control lane."""

    __slots__ = ()

    # -- replies -------------------------------------------------------------------------------

    def take_reply(self) -> Future[Any] | None:
        future = self.promise()
        if future is None:
            return None
        if self.lends:
            # Its class does not show that it does so, and it may do so again.
            self.lends = False
            self.spec.cls._may_reply_later = True
        self.asked = TAKEN
        owed = self.more().owed
        owed.add(future)
        future.add_done_callback(owed.discard)
        return future

    def promise(self) -> Future[Any] | None:
        """Return the future of the request being handled, and make it if nobody has needed it."""
        asked = self.asked
        if asked is UNMADE:
            asked = self.asked = self.promised = Future()
            asked._requestee = self
        return asked if isinstance(asked, Future) else None

    def expire_at(self, when: float, future: Future[Any]) -> None:
        seconds = max(0.0, when - self.now())
        scheduled = self.system.timers.call_later(seconds, future._expire)
        # Or a reply would be kept in memory until its deadline.
        if not future._add_callback(lambda _: scheduled.cancel()):
            scheduled.cancel()

    def works_on(self, future: Future[Any]) -> CellState | None:
        if self.extras is not None and future in self.extras.owed:
            return None  # whoever it was handed to will answer
        return self

    def hasten(self, future: Future[Any]) -> None:
        self.dispatcher.lend(future)

    def request_given_up(self, future: Future[Any]) -> None:
        if self.asked is future:
            self.dispatcher.interrupt_request(self, future)

    # -- watching ------------------------------------------------------------------------------

    def watch(self, ref: ActorRef[Any]) -> None:
        token = object()
        self.unwatch(ref)
        # First, as it fails where the other system is one that a fork left behind.
        ref._cell.post(Duties._op_watched, token, self, ref)
        self.more().watching[ref] = token

    def _op_watched(self, token: object, watcher: CellState, _: ActorRef[Any]) -> None:
        self.more().watchers[token] = watcher

    def unwatch(self, ref: ActorRef[Any]) -> None:
        token = self.more().watching.pop(ref, None)
        if token is not None:
            ref._cell.post(Duties._op_unwatched, token)

    def _op_unwatched(self, token: object) -> None:
        self.more().watchers.pop(token, None)

    async def _op_terminated(self, token: object, ref: ActorRef[Any], reason: Any) -> None:
        watching = self.more().watching
        if watching.get(ref) is not token:
            return
        if self.state is State.STARTING:
            # The constructor watched it; on_start comes first, and is in the lane.
            self.post(Duties._op_terminated, token, ref, reason)
        elif not self.suspended:
            del watching[ref]
            await self._signal(Terminated(ref, reason))

    def _op_await_end(self, future: Future[bool]) -> None:
        self.stops = (*self.stops, future)

    def stopped_event(self) -> threading.Event:
        extras = self.more()
        event = extras.stopped
        if event is None:
            fresh = threading.Event()
            with LOCKS.late:
                event = extras.stopped = extras.stopped or fresh
            if event is fresh:
                if self.closed:
                    event.set()
                else:
                    self.order_notice(event.set)
        return event

    def order_notice(self, call: Any) -> None:
        """Have `call()` made when the actor is dead."""
        future: Future[bool] = Future()
        future.add_done_callback(lambda _: call())
        self.post(Duties._op_await_end, future)

    # -- timers --------------------------------------------------------------------------------

    def start_timer(self, key: object, message: Any, after: float, every: bool) -> None:
        self.cancel_timer(key)
        token = object()
        scheduled = self.system.timers.call_later(
            after, self.post, Duties._op_timer, key, token, message, after if every else None
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
            self.post(Duties._op_timer, key, token, message, every)
            return
        if every is None:
            del timers[key]
        await self._signal(message)
        # Unless the handler cancelled or replaced it, or failed.
        if every is not None and timers.get(key) is entry:
            self.start_timer(key, message, every, every=True)

    def _cancel_timers(self) -> None:
        extras = self.extras
        if extras is not None:
            for _, scheduled in extras.timers.values():
                scheduled.cancel()
            extras.timers.clear()

    # -- stash ---------------------------------------------------------------------------------

    def stash(self) -> None:
        if self.item is IDLE:
            raise NoReplyExpected("there is no message being handled that could be stashed")
        extras = self.more()
        if extras.stash is None:
            extras.stash = deque()
        if len(extras.stash) >= self.spec.cls.stash_capacity:
            raise StashOverflow(self.path, self.spec.cls.stash_capacity)
        future = self.promise()
        if future is not None:
            self.asked = TAKEN
        extras.stash.append((self.item, future, context_to_carry()))
        # It will be handled once more, which is one more message in the balance.
        self.count_sent()

    def unstash_all(self) -> None:
        stash = self.more().stash
        if stash:
            self.queue.extendleft(reversed(stash))
            stash.clear()

    # -- signals -------------------------------------------------------------------------------

    async def _signal(self, message: Any) -> None:
        """Hand the actor a message that is not in its user lane."""
        self.item = message
        self.began = None
        try:
            result = self.receive(message)
            if type(result) is CoroutineType:
                if not self.dispatcher.awaits:
                    raise self._unexpected(result)  # noqa: TRY301 - told messages fail alike
                await result
        except BaseException as error:  # noqa: BLE001 - as for any told message
            step = self._fail(error)
            if step is not None:
                await step
        finally:
            self.item = IDLE

    def _settle_debts(self) -> None:
        """Let go of what belonged to the instance, not to the mailbox."""
        extras = self.extras
        if extras is None:
            return
        cause = self.reason if isinstance(self.reason, BaseException) else None
        if extras.owed:
            for future in list(extras.owed):
                error = ActorDeadError(f"{self.path} ended before it gave the reply it owed")
                error.__cause__ = cause
                future._fail(error)
            extras.owed.clear()
        if extras.watching:
            for ref, token in list(extras.watching.items()):
                ref._cell.post(Duties._op_unwatched, token)
            extras.watching.clear()
        if extras.stash:
            self.queue.extendleft(reversed(extras.stash))
            extras.stash.clear()
