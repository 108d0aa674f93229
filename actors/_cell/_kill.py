"""Killing: an async handler is cancelled, a sync one that does not return is abandoned."""

from __future__ import annotations

from actors._cell._life import Life
from actors._cell._orders import Orders
from actors._cell._state import LOCKS, KillOrder, Step
from actors._errors import ActorDeadError, ActorKilled, SystemStopped
from actors._executing import frames_within
from actors._future import Future
from actors._lifecycle import State
from actors._members import KILL_GRACE

__all__ = ["Killable"]


class Killable(Orders):
    """A cell that can be ended without waiting for its handler."""

    __slots__ = ()

    def order_kill(self, *, wanted: bool = True) -> None:
        if self.closed:
            if self.heir is not None:
                self.heir.order_kill(wanted=wanted)
            return
        order = self.kill_order = KillOrder(wanted=wanted)
        self.post_first(Killable._op_kill, order)
        self.dispatcher.interrupt(self)
        self.system.timers.call_later(KILL_GRACE, self._abandon, order)

    def kill_pending(self) -> bool:
        """Tell whether a kill was ordered that the actor has not come to yet."""
        order = self.kill_order
        return order is not None and not order.seen

    def _op_kill(self, order: KillOrder) -> Step:
        order.seen = True
        order.life = self.restarts
        self.interrupted = None
        error = ActorKilled(f"{self.path} was killed")
        self._kill_children()
        if self._is_between():
            if order.wanted:
                self._give_up()
        elif self.state < State.STOPPING:
            then = "die" if order.wanted or self.stop_wanted else "report"
            return self._wind_down(error, then)
        return None

    def _kill_children(self) -> None:
        for child in self.children.snapshot() if self.children is not None else ():
            child.order_kill()

    def _end_children(self) -> None:
        """Leave no children behind, nor any that a handler which goes on would spawn."""
        if self.children is not None:
            self.children.stop_all()
        self._kill_children()

    def _abandon(self, order: KillOrder, *, again: bool = True) -> None:
        """Let the actor count as dead although its handler does not return.

        Runs on the timer thread, so it only does what any thread may do: `_die` happens once and
        takes from the lanes item by item. The thread inside the handler finds the cell closed.
        """
        if self.closed or (order.seen and not self._still_ends(order)):
            return
        later = self.system.timers.call_later
        if self.hook == "__init__" and not self.attending:
            # Somebody spawns it, and is in its constructor.
            if not self._abandon_unborn():
                later(KILL_GRACE, self._abandon, order)
            return
        if not self.dispatcher.works():
            self.strand()
            return
        if not self.in_turn:
            # Nobody is stuck in it: its turn is yet to come, behind busy neighbours.
            later(KILL_GRACE, self._abandon, order)
            return
        if order.seen and again:
            # It is ending, but slowly, in a hook: one more grace.
            later(4 * KILL_GRACE, lambda: self._abandon(order, again=False))
            return
        self._end_children()
        self.reason = ActorKilled(f"{self.path} was killed, and abandoned in its handler")
        self.system.abandoned(self)
        future = self.asked
        if isinstance(future, Future):
            future._fail(ActorDeadError(f"{self.path} was killed"))
        if order.wanted or self.stop_wanted:
            self._settle_debts()
            self._die()
        else:
            self._succeed()
        # It has nothing left to do, but a thread of its own that had just come back from the
        # handler, and saw it alive, has to learn that it was the last turn.
        self.dispatcher.submit(self)

    def strand(self) -> None:
        """Be dead without a last turn: the loop it ran on was closed, by somebody else.

        As `_abandon`, it does what any thread may do.
        """
        if self.closed:
            self.bury()
            return
        self._end_children()
        why = f"the event loop of {self.system.name} was closed before the system stopped"
        self.reason = SystemStopped(why)
        self.system.abandoned(self, why=why)
        future = self.asked
        if isinstance(future, Future):
            future._fail(ActorDeadError(f"{self.path} is dead: {why}"))
        self._settle_debts()
        self._cancel_timers()
        self._die()

    def _abandon_unborn(self) -> bool:
        """Give up an actor whose first constructor does not return; tell False if it just did.

        There is no instance yet that a supervisor could restart: whoever spawns the actor hears of
        it, should the constructor ever return.
        """
        frames = frames_within(Life._build.__code__, self)
        with LOCKS.late:
            if self.hook != "__init__":
                return False
            self.close()  # which `begin` looks at under the same lock, when the hook is over
        self._end_children()
        self.reason = ActorKilled(f"{self.path} was killed, and abandoned in its constructor")
        self.system.abandoned(self, frames)
        self._settle_debts()
        self._die(entered=False)
        return True

    def _still_ends(self, order: KillOrder) -> bool:
        """Tell whether the instance that the order ended is still in its last hook."""
        return self.restarts == order.life and self.instance is not None and bool(self.then)

    def _succeed(self) -> None:
        """Put a fresh cell in the place of this abandoned one, and have it restarted."""
        heir = type(self)(self.system, self.spec, self.key, self.parent)
        ref = heir.own_ref = self.ref
        heir.state = State.RESTARTING
        heir.then = "report"
        heir.reason = self.reason
        heir.restarts = self.restarts
        if not self.permit.pop(1, 0):
            return
        self.heir = heir
        self.close()
        # What the old instance still tries, it tries as a dead actor.
        self.state = State.STOPPED
        self.pulse = object()
        self._cancel_timers()
        heir.extras, self.extras = self.extras, None
        heir.stops, self.stops = self.stops, ()
        # Before anybody can send to the heir, or a sender's messages would overtake each other.
        while self.queue:
            try:
                heir.queue.append(self.queue.popleft())
            except IndexError:
                break
        heir._settle_debts()
        ref._cell = heir
        self.siblings.replace(heir)
        heir.release()
        self.bury()
        self.freed()
        self.siblings.report(heir, "failure", self.reason)
