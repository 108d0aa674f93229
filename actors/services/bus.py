"""The event bus: who wants to hear of a topic, and handlers that run beside each other.

The bus actor only keeps the subscriptions. Each handler of each event runs as a short-lived actor
of its own, so a slow one holds up nobody, and one that emits on the same bus cannot wait for
itself.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar, overload

import msgspec
from loguru import logger

from actors._actor import Actor
from actors._context import carry
from actors._default import system_for
from actors._errors import NoHandler, RequestCancelled, UnexpectedCoroutine
from actors._future import Future
from actors._options import function
from actors._ref import ActorRef
from actors._supervision import ChildSpec
from actors._system import ActorSystem
from actors.services import _topics as topics
from actors.services._errand import nothing_to_end, wait_for_end
from actors.services._subscriptions import Event, Subscriptions

__all__ = ["Event", "EventBus"]

H = TypeVar("H", bound=Callable[..., Any])


class _On(msgspec.Struct, frozen=True):
    pattern: topics.Segments
    handler: Callable[[Event], Any]
    once: bool


class _Off(msgspec.Struct, frozen=True):
    pattern: topics.Segments
    handler: Callable[[Event], Any] | None


class _Emit(msgspec.Struct, frozen=True):
    event: Event
    segments: topics.Segments


class _Publish(msgspec.Struct, frozen=True):
    event: Event
    segments: topics.Segments


class _GoOn(msgspec.Struct, frozen=True):
    """A handler that looked sync returned something to await."""

    gathering: _Gathering
    place: int
    rest: _Rest


class _Rest:
    """Something to await that a handler returned; if nobody comes to, it is let go quietly."""

    __slots__ = ("_begun", "_rest")

    def __init__(self, rest: Awaitable[Any]) -> None:
        self._rest = rest
        self._begun = False

    async def __call__(self, _: Event) -> Any:
        self._begun = True
        return await self._rest

    def __del__(self) -> None:
        # The event was given up in between, at whatever point; a coroutine that never began is
        # no mistake of its author then.
        if not self._begun and inspect.iscoroutine(self._rest):
            self._rest.close()


class _Run(msgspec.Struct, frozen=True):
    handler: Callable[[Event], Any]
    event: Event


class _Gathering:
    """What the handlers of one event answer, put together in order of subscription.

    Args:
        event: what they handle.
        reply: whom to answer; None for an event that was published.
        handlers: how many there are.
    """

    def __init__(self, event: Event, reply: Future[Any] | None, handlers: int) -> None:
        self.event = event
        self.reply = reply
        self._lock = threading.Lock()
        # Invariant: under _lock; `_missing` handlers have not answered, and those that are
        # running are among `_running`.
        self._missing = handlers
        self._values: list[Any] = [None] * handlers
        self._errors: dict[int, BaseException] = {}
        self._running: dict[int, Future[Any]] = {}
        if reply is not None:
            reply.add_done_callback(self._given_up)

    def expect(
        self,
        place: int,
        handling: ActorRef[Any],
        answer: Future[Any],
        go_on: Callable[[_GoOn], None],
    ) -> None:
        """Take the answer of the handler in that place when it comes."""
        with self._lock:
            self._running[place] = answer

        def arrived(_: Future[Any]) -> None:
            if answer.exception() is not None:
                # Given up before it ran, perhaps, so that it will not stop by itself.
                handling.stop(block=False)
            self._arrived(place, answer, go_on)

        answer.add_done_callback(arrived)
        if self.reply is not None and self.reply.done():
            answer.cancel()

    def _arrived(self, place: int, answer: Future[Any], go_on: Callable[[_GoOn], None]) -> None:
        error = answer.exception()
        value = None if error is not None else answer.get()
        if isinstance(value, _Rest):
            go_on(_GoOn(self, place, value))
            return
        with self._lock:
            self._running.pop(place, None)
            self._values[place] = value
            if error is not None:
                self._errors[place] = error
            self._missing -= 1
            last = self._missing == 0
        if last:
            self._finish()

    def _finish(self) -> None:
        errors = [error for _, error in sorted(self._errors.items())]
        if self.reply is None:
            for error in errors:
                logger.opt(exception=error).error("a handler of {!r} failed", self.event.topic)
        elif len(errors) == 1:
            self.reply.try_set_exception(errors[0])
        elif errors:
            text = f"{len(errors)} handlers of {self.event.topic!r} failed"
            self.reply.try_set_exception(BaseExceptionGroup(text, errors))
        else:
            self.reply.try_set(self._values[0] if len(self._values) == 1 else self._values)

    def _given_up(self, reply: Future[Any]) -> None:
        """Cancel what still runs: nobody wants the answer any more."""
        if reply.exception() is None:
            return
        with self._lock:
            running = list(self._running.values())
        for answer in running:
            answer.cancel()


class _SyncHandling(Actor):
    """Runs one sync handler once."""

    def on_receive(self, message: _Run) -> Any:
        try:
            result = message.handler(message.event)
        finally:
            self.stop()
        return _Rest(result) if inspect.isawaitable(result) else result


class _AsyncHandling(Actor):
    """Runs one async handler once."""

    async def on_receive(self, message: _Run) -> Any:
        try:
            return await message.handler(message.event)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Nobody cancelled this handler: it was cancelled by what it awaits, and its emitter
            # has to hear of that.
            raise RequestCancelled("the handler was cancelled from within") from error
        finally:
            self.stop()


class BusKeeper(Actor):
    """Keeps the subscriptions of one bus and starts the handlers.

    Args:
        subscriptions: who wants to hear of what; they outlive a restart.
    """

    def __init__(self, subscriptions: Subscriptions) -> None:
        super().__init__()
        self._subscriptions = subscriptions

    def on_receive(self, message: Any) -> Any:
        """Change the subscriptions, or start the handlers of an event."""
        match message:
            case _On(pattern, handler, once):
                self._subscriptions.add(pattern, handler, once=once)
            case _Off(pattern, handler):
                return self._subscriptions.remove(pattern, handler)
            case _Emit(event, segments):
                handlers = self._subscriptions.take(segments)
                if not handlers:
                    raise NoHandler(event.topic)
                gathering = _Gathering(event, self.reply_later(), len(handlers))
                self._start(gathering, handlers)
            case _Publish(event, segments):
                handlers = self._subscriptions.take(segments)
                if handlers:
                    self._start(_Gathering(event, None, len(handlers)), handlers)
            case _GoOn(gathering, place, rest):
                self._run(gathering, place, _AsyncHandling, _Run(rest, gathering.event))
        return None

    def _start(self, gathering: _Gathering, handlers: list[Callable[[Event], Any]]) -> None:
        for place, handler in enumerate(handlers):
            kind = _AsyncHandling if _is_async(handler) else _SyncHandling
            self._run(gathering, place, kind, _Run(handler, gathering.event))

    def _run(self, gathering: _Gathering, place: int, kind: type[Actor], message: _Run) -> None:
        handling = self.spawn(ChildSpec(kind, restart="temporary"))
        gathering.expect(place, handling, handling.request(message), self.actor_ref.tell)


class _Emission(Future[Any]):
    """What `emit` returns: to cancel it, or the only one who awaits it, cancels the handlers.

    The reply itself would not notice that nobody waits any more, since the gathering listens.
    """

    __slots__ = ("_reply",)

    def __init__(self, reply: Future[Any]) -> None:
        super().__init__()
        self._reply = reply
        reply.add_done_callback(self._arrived)

    def _arrived(self, reply: Future[Any]) -> None:
        error = reply.exception()
        if error is None:
            self.try_set(reply.get())
        else:
            self.try_set_exception(error)

    def cancel(self) -> bool:
        cancelled = super().cancel()
        self._reply.cancel()
        return cancelled


class EventBus:
    """Topics, handlers, and events that run them.

    Args:
        system: the actor system to live in; None is the default one.
    """

    def __init__(self, *, system: ActorSystem | None = None) -> None:
        self._system = system_for(system)
        self._ref = self._system.spawn_service(BusKeeper, Subscriptions())
        self._numbers = itertools.count(1)

    @overload
    def on(self, pattern: str) -> Callable[[H], H]: ...

    @overload
    def on(self, pattern: str, handler: H) -> H: ...

    def on(self, pattern: str, handler: H | None = None) -> H | Callable[[H], H]:
        """Run a handler for each event whose topic the pattern covers.

        A decorator without `handler`, a call with it. A handler takes the `Event`; it may be
        sync or async, and it may emit on the same bus.

        Args:
            pattern: segments divided by `:`, `.` or `/`, alike; `*` is any one segment, `**` any
                number of them, none included.
            handler: what to run.

        Raises:
            InvalidOption: the pattern or the handler is none.
            UnexpectedCoroutine: the handler is a generator function.
        """
        return self._subscribe(pattern, handler, once=False)

    @overload
    def once(self, pattern: str) -> Callable[[H], H]: ...

    @overload
    def once(self, pattern: str, handler: H) -> H: ...

    def once(self, pattern: str, handler: H | None = None) -> H | Callable[[H], H]:
        """Like `on`, for the next such event only."""
        return self._subscribe(pattern, handler, once=True)

    def _subscribe(self, pattern: str, handler: H | None, *, once: bool) -> H | Callable[[H], H]:
        segments = topics.pattern(pattern)

        def subscribe(handler: H) -> H:
            _check_handler(handler)
            self._ref.tell(_On(segments, handler, once))
            return handler

        return subscribe if handler is None else subscribe(handler)

    def off(self, pattern: str, handler: Callable[..., Any] | None = None) -> Future[int]:
        """End a handler's subscriptions to that very pattern (None: everybody's).

        Events that were emitted before still run it.

        Returns:
            How many subscriptions that ended, in a future.
        """
        segments = topics.pattern(pattern)
        if handler is not None:
            function("handler", handler, "the function that was subscribed, or None for all")
        return self._ref.request(_Off(segments, handler))

    def emit(self, topic: str, /, **payload: Any) -> Future[Any]:
        """Run all handlers of a topic and return what they return.

        The future's value is that of the only handler, or a list in order of subscription. If it
        is cancelled, or the deadline of the run passes, async handlers are cancelled.

        Args:
            topic: segments divided by `:`, `.` or `/`, alike.
            payload: what the event holds.

        Raises:
            InvalidOption: the topic is none.
            NoHandler: nobody is subscribed (from the future, as is the next).
            Exception: what a handler raised; an ExceptionGroup if several did. The others have
                run to their end.
        """
        segments = topics.topic(topic)
        return _Emission(self._ref.request(_Emit(self._event(topic, payload), segments)))

    def publish(self, topic: str, /, **payload: Any) -> None:
        """Run all handlers of a topic, if there are any, and do not wait; failures are logged.

        Args:
            topic: segments divided by `:`, `.` or `/`, alike.
            payload: what the event holds.

        Raises:
            InvalidOption: the topic is none.
        """
        segments = topics.topic(topic)
        with carry():
            self._ref.tell(_Publish(self._event(topic, payload), segments))

    def _event(self, topic: str, payload: dict[str, Any]) -> Event:
        return Event(topic, payload, next(self._numbers), self._system.clock.time())

    def close(self) -> Future[bool]:
        """End the bus; handlers that run are given the time actors are given to stop."""
        inherited = nothing_to_end(self._ref)
        return self._ref.stop(block=False) if inherited is None else inherited

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        wait_for_end(self.close(), "EventBus")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<EventBus {self._ref.path}>"


def _check_handler(handler: Callable[..., Any]) -> None:
    """Make sure that to call it runs it.

    Raises:
        InvalidOption: it cannot be called.
        UnexpectedCoroutine: it is a generator function.
    """
    function("handler", handler, "a function of an Event")
    if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
        raise UnexpectedCoroutine(
            f"the handler {handler!r} has a `yield` in it, which makes it a generator: nothing "
            "would ever run it. Return a list; to wait for something, write `async def` and `await`"
        )


def _is_async(handler: Callable[..., Any]) -> bool:
    call = getattr(handler, "__call__", None)  # noqa: B004 - its kind is asked, not whether
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)
