"""One message: whether it is still wanted, what its handler is given, and who gets its answer.

A told message that brings no context is handled in line, by the turn; all others are handled here.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from contextvars import Context
from types import CoroutineType, coroutine
from typing import Any, cast

from pykka._introspection import get_attr_directly
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr

from actors._answer import annotate
from actors._cell._kill import Killable
from actors._cell._state import complete, is_cancellation, stop_order_in
from actors._context import enter
from actors._errors import ActorDeadError, DeadlineExceeded
from actors._future import Future
from actors._messages import DeadLetterKind
from actors._ref import StopOrder

__all__ = ["Handling"]

_PROXIED = frozenset({ProxyCall, ProxyGetAttr, ProxySetAttr})


@coroutine
def _within(context: Context, stepped: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Await `stepped` in this task, but in another context than the task's."""
    run = context.run
    try:
        waits_for = run(stepped.send, None)
        while True:
            try:
                value = yield waits_for
            except BaseException as error:  # noqa: BLE001 - it is for the one that waits
                waits_for = run(stepped.throw, error)
            else:
                waits_for = run(stepped.send, value)
    except StopIteration as end:
        return end.value


class Handling(Killable):
    """A cell that can handle one message."""

    __slots__ = ()

    def _admit(self, item: Any) -> tuple[Any, Any, Any] | None:
        """Unpack an item; None if it must not be handled any more."""
        if type(item) is not tuple:
            return item, None, None
        future = item[1]
        if type(future) is Future:
            if future._when is not None and not future._state:
                late = self.now() - future._when
                if late >= 0:
                    future._fail(DeadlineExceeded(f"a request to {self.path}", late))
            if future._state:
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
        if type(item) is StopOrder:  # as below, but many actors live for one message
            step = self._obey(item)
            if step is not None:
                complete(step)
            return 0
        order = stop_order_in(item)
        if order is not None:
            complete(self._obey(order))
            return 0
        admitted = self._admit(item)
        if admitted is None:
            return 0
        message, future, context = admitted
        self.item = message
        self.began = None
        self.asked = future
        try:
            if context is None:
                result = self._invoke(message)
            else:
                context.run(enter, self)
                result = context.run(self._invoke, message)
            if type(result) is CoroutineType:
                raise self._unexpected(result)  # noqa: TRY301 - handled as what handlers raise
        except BaseException as error:  # noqa: BLE001 - it is the answer, or a failure
            outcome = self._not_handled(message, future, error)
            handled: int = complete(outcome) if context is None else context.run(complete, outcome)
        else:
            if future is not None and self.asked is future:
                self._answer(future, result)
            handled = 1
        self.asked = None  # where nothing failed but the handler; see wreck
        return handled

    async def _run_special_async(self, item: Any) -> int:
        order = stop_order_in(item)
        if order is not None:
            step = self._obey(order)
            if step is not None:
                await step
            return 0
        admitted = self._admit(item)
        if admitted is None:
            return 0
        message, future, context = admitted
        self.item = message
        self.began = None
        self.asked = future
        try:
            if context is None:
                result = self._invoke(message)
                if type(result) is CoroutineType:
                    result = await result
            else:
                context.run(enter, self)
                result = context.run(self._invoke, message)
                if type(result) is CoroutineType:
                    result = await _within(context, result)
            if type(result) is CoroutineType:
                raise self._unexpected(result)  # noqa: TRY301 - likewise
        except BaseException as error:  # noqa: BLE001 - it is the answer, or a failure
            outcome = self._not_handled(message, future, error)
            handled: int = await (outcome if context is None else _within(context, outcome))
        else:
            if future is not None and self.asked is future:
                self._answer(future, result)
            handled = 1
        finally:
            if self.interrupted == "request":
                self._forget_interruption()
        self.asked = None  # likewise
        return handled

    def _forget_interruption(self) -> None:
        # The task goes on with other messages, and must not look cancelled to their handlers
        # (a TaskGroup asks).
        self.interrupted = None
        if self.frame is not None and self.frame.cancelling():
            self.frame.uncancel()

    def _answer(self, future: Any, result: Any) -> None:
        if isinstance(future, Future):
            if not future._resolve(1, result):
                self.system.late_reply(result, self.path)
        else:
            future.set(result)  # a pykka future, put into the inbox by hand

    async def _not_handled(self, message: Any, future: Any, error: BaseException) -> int:
        """Deal with what a handler raised; tell whether the message counts as handled."""
        if is_cancellation(error) and self.interrupted == "request":
            # Its requester gave it up, which is no failure; the future has its answer already.
            return 1
        if future is None:
            self._dead_letter(message, "failed")
            step = self._fail(error)
            if step is not None:
                await step
            return 0
        # Its traceback shows where it was raised and where its answer was waited for, and no path.
        annotate(error, lambda: f"while {self.path} handled {type(message).__name__}")
        answer: BaseException = error
        if is_cancellation(error):
            answer = ActorDeadError(f"{self.path} was cancelled while it handled the request")
            answer.__cause__ = error
        if isinstance(future, Future):
            if not future._fail(answer):
                self.system.late_reply(answer, self.path)
        else:
            future.set_exception((type(answer), answer, answer.__traceback__))
        self.log_answer(error)
        if not isinstance(error, Exception) or isinstance(
            error, (MemoryError, *self.spec.crash_on)
        ):
            step = self._fail(error)
            if step is not None:
                await step
        return 1
