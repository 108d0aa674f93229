"""How an actor comes to life, fails, is restarted and ends.

new → starting → running → (restarting → starting) → stopping → stopped. Supervision is decided by
the parent's `Children`; this executes it.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, cast

from actors._cell._duties import Duties
from actors._cell._state import IDLE, LOCKS, Step, is_cancellation
from actors._children import Children
from actors._errors import (
    ActorKilled,
    SystemStopped,
)
from actors._lifecycle import State, advance
from actors._messages import ActorFailed, ActorRestarted, ActorStarted, ActorStopped
from actors._ref import ActorRef
from actors._supervision import ChildSpec, Ending

__all__ = ["Life", "bind_defaults"]

_STARTING, _RUNNING, _STOPPING = State.STARTING, State.RUNNING, State.STOPPING
"""Looked up once: finding a member of an enum takes as long as a call."""


class Life(Duties):
    """The life cycle of a cell."""

    __slots__ = ()

    # -- coming to life ------------------------------------------------------------------------

    def begin_in_order(self) -> None:
        """Be there, and take messages, but do not start before `order_restart` says so."""
        self.enter()
        if self.system.events.heard:
            self.system.publish(ActorStarted(self.ref, self.path))
        self.release()

    def begin(self) -> None:
        """Construct the instance on the caller's thread and make the actor run."""
        building = self.system.building
        try:
            if building is None:
                self._build()
            else:
                building[self] = threading.get_ident()
                try:
                    self._build()
                finally:
                    del building[self]
        except BaseException as error:
            # There never was an actor; what was sent to its name by now is answered.
            if not self.closed:  # not abandoned meanwhile
                self.state = _STOPPING
                self.reason = error
            if self.children is not None:
                self.children.stop_all()
            self._settle_debts()
            self._die(entered=False)
            raise
        if self.kill_order is not None and not self._is_born():
            raise SystemStopped(f"{self.path} was ended before its constructor returned")
        # Made known when the instance is there, and before it runs: nobody hears of the end first.
        system = self.system
        self.enter()
        if system.events.heard:
            system.publish(ActorStarted(self.ref, self.path))
        self.state = _STARTING
        if self.spec.cls.on_start is _NO_ON_START:
            self.state = _RUNNING
            self.suspended = False
        else:
            self.post(Life._op_start)
        self.release()

    def _is_born(self) -> bool:
        """Tell whether the first constructor returned before the actor was abandoned in it."""
        with LOCKS.late:
            if not self.closed:
                return True
        self.instance = self.receive = None
        self._settle_debts()  # what it has taken on since then
        self._cancel_timers()
        return False

    def _build(self) -> None:
        spec = self.spec
        cls = spec.cls
        args, kwargs = spec.args, spec.kwargs
        self._enter_hook("__init__")
        try:
            instance = cls.__new__(cls, *args, **kwargs) if args or kwargs else cls.__new__(cls)
            instance._cell = self
            instance.actor_ref = self.own_ref
            self.instance = instance  # a constructor may make a proxy of its own actor
            instance.__init__(*args, **kwargs)
        except BaseException:
            self.instance = None
            raise
        finally:
            self.hook = None
        self.receive = instance.on_receive
        if self.restarts or cls.flight_recorder:
            size = cls.flight_recorder or self.system.flight_recorder
            if size:
                self._record(size)

    def _record(self, size: int) -> None:
        """Keep the last messages from now on, for the report of the next failure."""
        extras = self.more()
        if extras.tape is None:
            extras.tape = deque(maxlen=size)
        append, receive = extras.tape.append, self.receive

        def record(message: Any) -> Any:
            append(message)
            return receive(message)

        self.receive = record

    def _enter_hook(self, name: str) -> None:
        """Note that a hook is about to be called; it is left where its result is known."""
        # Before `stop_wanted` is looked at; `order_stop` does both the other way round, so one of
        # the two has a hook that hangs watched over.
        self.hook = name
        self.began = None
        if self.stop_wanted:
            self.bound_hooks()

    def bound_hooks(self) -> None:
        """Have a hook that does not return in the time of its specification killed."""
        self.siblings.watch_over_hooks(self)

    def _op_start(self, *, restarted: bool = False) -> Step:
        if self.state is not State.STARTING:
            return None
        self._enter_hook("on_start")
        try:
            result = self.instance.on_start()
        except BaseException as error:  # noqa: BLE001 - a failing start is a failure
            return self._fail(error)
        if result is not None:
            return self._finish_start(result, restarted)
        self._runs(restarted)
        return None

    async def _finish_start(self, result: Any, restarted: bool) -> None:
        try:
            await self._finish_hook(result)
        except BaseException as error:  # noqa: BLE001 - likewise
            step = self._fail(error)
            if step is not None:
                await step
        else:
            self._runs(restarted)

    def _runs(self, restarted: bool) -> None:
        self.hook = None
        if self.state is State.STARTING:
            self.state = State.RUNNING
            self.suspended = False
            if restarted:
                self._op_children_started()

    def _op_children_started(self) -> None:
        """Count as started, once the children that start in order are."""
        if self.state is not State.RUNNING:
            return
        children = self.children
        if children is None or not children.call_when_started(self._post_children_started):
            self.siblings.started(self)

    def _post_children_started(self) -> None:
        self.post(Life._op_children_started)

    def _op_restart(self, reason: Any) -> Step:
        state = self.state
        if not self._is_between() or self.then == "die":
            return None
        self.state = advance(state, State.STARTING)
        self.then = ""
        self.interrupted = None
        if state is not State.NEW:
            self.restarts += 1
            if self.children is not None:
                self.children.reopen()
            self.system.publish(ActorRestarted(self.ref, self.path, reason))
        try:
            self._build()
        except BaseException as error:  # noqa: BLE001 - likewise
            return self._fail(error)
        return self._op_start(restarted=True)

    # -- failing and ending --------------------------------------------------------------------

    def _fail(self, error: BaseException) -> Step:
        """The instance has failed: end it, and have the supervisor decide."""
        if self.state >= _STOPPING or self.then:
            # It fails while it ends; there is nothing left to decide.
            self.log_failure(error, "failed while it was ending")
            return None
        if self.interrupted == "kill":
            error = ActorKilled(f"{self.path} was killed")
        self.log_failure(error, "failed")
        self.system.failed(self._report(error))
        step = self._wind_down(error, "die" if self.stop_wanted else "report")
        if isinstance(error, Exception) or is_cancellation(error):
            return step
        return self._fail_all(step, error)

    def _report(self, error: BaseException) -> ActorFailed:
        message = None if self.item is IDLE else self.item
        tape = self.extras.tape if self.extras is not None else None
        recent = tuple(tape or ())
        if recent and recent[-1] is message:
            recent = recent[:-1]
        return ActorFailed(
            self.ref, self.path, error, message, recent, len(self.queue), self.restarts
        )

    async def _fail_all(self, step: Step, error: BaseException) -> None:
        if step is not None:
            await step
        self.no_plain_exception(error)

    # -- what differs for actors without a supervisor --------------------------------------------

    def enter(self) -> None:
        """Do what is due when the actor is made known."""

    def leave(self) -> None:
        """Do what is due when it is dead."""

    def no_plain_exception(self, error: BaseException) -> None:
        """Do what is due when it failed of, say, SystemExit."""

    # -- ending ----------------------------------------------------------------------------------

    def _is_between(self) -> bool:
        """Tell whether it waits to be started, for the first time or once more."""
        return self.state is State.RESTARTING or self.state is State.NEW

    def _wind_down(self, reason: Any, then: str) -> Step:
        """End the instance: the children first, in reverse order, then the hook."""
        state = self.state
        if state >= _STOPPING:
            return None  # abandoned, just when its handler came back after all
        self.state = advance(state, _STOPPING if then == "die" else State.RESTARTING)
        self.then = then
        self.reason = reason
        self.suspended = True
        if self.stop_wanted:
            self.then = "die"  # ordered since `then` was decided; see order_stop
        self.item = IDLE  # what failed is not for `stash` in the hooks to come
        self.hook = None
        self.pulse = object()
        if self.extras is not None:
            self._cancel_timers()
        if self.children is not None:
            self.children.stop_all(drain=self.system.drains)  # posts _op_children_gone
            return None
        return self._end_instance()

    def _op_children_gone(self) -> Step:
        return self._end_instance() if self.then and self.suspended else None

    def _end_instance(self) -> Step:
        instance = self.instance  # which stays, as the hook may use what an actor can do
        self.receive = None
        if instance is not None:
            reason = self.reason
            self.attending = True
            failed = isinstance(reason, BaseException)
            hook = "on_failure" if failed else "on_stop"
            if getattr(self.spec.cls, hook) not in _EMPTY_HOOKS:
                self._enter_hook(hook)
            try:
                if failed:
                    result = instance.on_failure(type(reason), reason, reason.__traceback__)
                else:
                    result = instance.on_stop()
            except BaseException as error:  # noqa: BLE001 - a failing hook is the reason it died
                self._last_hook_failed(error)
            else:
                if result is not None:
                    return self._finish_end(result)
        self._instance_ended()
        return None

    async def _finish_end(self, result: Any) -> None:
        try:
            await self._finish_hook(result)
        except BaseException as error:  # noqa: BLE001 - likewise
            self._last_hook_failed(error)
        self._instance_ended()

    def _last_hook_failed(self, error: BaseException) -> None:
        self.log_failure(error, "failed in its last hook")
        if not isinstance(self.reason, BaseException):
            self.reason = error

    def _instance_ended(self) -> None:
        self.instance = None
        self.hook = None
        self.attending = False
        if self.extras is not None:
            self._settle_debts()
        if self.closed:
            return  # abandoned while the hook ran
        if self.then == "die":
            self._die()
            return
        ending: Ending = "failure" if isinstance(self.reason, BaseException) else "normal"
        self.siblings.report(self, ending, self.reason)

    def _die(self, *, entered: bool = True) -> None:
        """Be dead: the last thing that happens to a cell, once, whoever comes first."""
        if not self.permit.pop(1, 0):
            return
        self.close()
        self.state = State.STOPPED
        self.pulse = object()
        self.instance = self.receive = None
        if self.queue or self.control:
            self.bury()
        if self.bounds is not None:
            self.freed()
        reason = self.reason if self.reason is not None else "stopped"
        if isinstance(reason, ActorKilled):
            reason = "killed"
        system = self.system
        if system.events.heard:
            system.publish(ActorStopped(self.ref, self.path, reason))
        system.cell_ended()
        if entered:
            self.leave()
        self.siblings.ended(self)
        # Each knows the cell, and would wait with it for the garbage collector.
        stops, self.stops = self.stops, ()
        for future in stops:
            future._resolve(1, True)
        if self.extras is not None:
            for token, watcher in list(self.extras.watchers.items()):
                watcher.post(Life._op_terminated, token, self.ref, reason)
        self.own_ref = None

    # -- children ------------------------------------------------------------------------------

    def spawn(self, spec: ChildSpec, *, in_order: bool = False) -> ActorRef[Any]:
        if self.state >= _STOPPING:
            raise SystemStopped(f"{self.path} is stopping and starts no more children")
        if self.children is None:
            self.children = Children(
                self.spec.cls.supervision,
                self.system.clock,
                self.system.timers,
                self.describe,
                lambda error: self.post(Life._op_escalate, error),
                lambda: self.post(Life._op_shut_down),
                lambda: self.post(Life._op_children_gone),
            )
        return cast(
            "ActorRef[Any]",
            self.system.spawn_under(self.children, spec, self, in_order=in_order),
        )

    def _op_escalate(self, error: BaseException) -> Step:
        return self._fail(error)

    def _op_shut_down(self) -> Step:
        if self.state < _STOPPING and not self.then:
            return self._wind_down(None, "report")
        return None

    def child_refs(self) -> tuple[ActorRef[Any], ...]:
        return tuple(c.ref for c in self.children.snapshot()) if self.children is not None else ()


_NO_ON_START: Any = None
_EMPTY_HOOKS: tuple[Any, ...] = ()


def bind_defaults(actor: type[Any]) -> None:
    """Learn what the hooks of the base class are, to skip those that nobody overrode."""
    global _NO_ON_START, _EMPTY_HOOKS  # noqa: PLW0603 - set once, when `_system` is imported
    _NO_ON_START = actor.on_start
    _EMPTY_HOOKS = (actor.on_stop, actor.on_failure)
