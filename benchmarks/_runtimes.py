"""Runtimes that Savina's benchmarks are written against, each opened as a context.

callboard, callboard-async, pykka   as their users write actors
asyncio     a task and an `asyncio.Queue` for each actor
deque       one deque of (handler, message) in a bare loop: no runtime, but the interpreter's limit
thespian    its `simpleSystemBase`: all actors in one thread, without transports, its fastest form

What they share is pykka's way of writing: `on_receive`, `on_stop`, `tell`, `actor_ref`, `stop`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

__all__ = ["PATIENCE", "RUNTIMES", "Runtime", "actor"]

PATIENCE = 300.0
"""Seconds after which a benchmark counts as hanging: that is an error, not a figure."""


class Runtime:
    """How to start actors, and a place for the answer.

    Args:
        base: what an actor's class derives from.
        spawn: starts an actor of a class without arguments, and returns its reference.
        asynchronous: whether handlers are to be coroutines.
    """

    def __init__(
        self, base: type[Any], spawn: Callable[[Any], Any], *, asynchronous: bool = False
    ) -> None:
        self.base = base
        self.spawn = spawn
        self.asynchronous = asynchronous
        self.answer: Any = None
        self._done = threading.Event()

    def finish(self, answer: Any) -> None:
        """End the measured part."""
        self.answer = answer
        self._done.set()

    def wait(self) -> Any:
        """Wait for the end, and return the answer.

        Raises:
            TimeoutError: there is none after `PATIENCE`.
        """
        if not self._done.wait(PATIENCE):
            raise TimeoutError("the benchmark did not end")
        return self.answer


@contextmanager
def _callboard() -> Iterator[Runtime]:
    from actors import Actor, ActorSystem

    with ActorSystem("bench") as system:
        yield Runtime(Actor, system.spawn)


@contextmanager
def _callboard_async() -> Iterator[Runtime]:
    from actors import Actor, ActorSystem

    with ActorSystem("bench") as system:
        yield Runtime(Actor, system.spawn, asynchronous=True)


@contextmanager
def _pykka() -> Iterator[Runtime]:
    import pykka

    yield Runtime(pykka.ThreadingActor, lambda cls: cls.start())
    pykka.ActorRegistry.stop_all()


# -- asyncio ---------------------------------------------------------------------------------


class _QueueRef:
    __slots__ = ("going", "tell")

    def __init__(self, tell: Callable[[Any], None]) -> None:
        self.tell = tell
        self.going = True

    def stop(self, *, block: bool = False) -> None:
        """End after the message that is being handled; only the actor itself asks for that."""
        self.going = False


class _QueueActor:
    actor_ref: _QueueRef

    def on_receive(self, message: Any) -> Any:
        raise NotImplementedError

    def on_stop(self) -> None:
        """Nothing to tidy up."""


async def _live(actor: _QueueActor, queue: asyncio.Queue[Any]) -> None:
    ref, receive, get = actor.actor_ref, actor.on_receive, queue.get
    while ref.going:
        receive(await get())
    actor.on_stop()


class _Loop(Runtime):
    """All in one thread: the loop runs while the benchmark waits for the answer."""

    def __init__(self) -> None:
        super().__init__(_QueueActor, self._start)
        self.loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        # The loop itself keeps no tasks alive.
        self._tasks: set[asyncio.Task[None]] = set()

    def _start(self, cls: type[_QueueActor]) -> _QueueRef:
        queue: asyncio.Queue[Any] = asyncio.Queue()
        actor = cls()
        actor.actor_ref = _QueueRef(queue.put_nowait)
        task = self.loop.create_task(_live(actor, queue))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return actor.actor_ref

    def finish(self, answer: Any) -> None:
        self.answer = answer
        self._ended.set()

    def wait(self) -> Any:
        self.loop.run_until_complete(asyncio.wait_for(self._ended.wait(), PATIENCE))
        return self.answer

    def close(self) -> None:
        self.loop.run_until_complete(self._cancel())
        self.loop.close()

    async def _cancel(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def _asyncio() -> Iterator[Runtime]:
    runtime = _Loop()
    try:
        yield runtime
    finally:
        runtime.close()


# -- a bare deque ----------------------------------------------------------------------------


class _BareRef:
    __slots__ = ("_actor", "_put", "_receive")

    def __init__(self, actor: _QueueActor, put: Callable[[Any], None]) -> None:
        self._actor = actor
        self._receive = actor.on_receive
        self._put = put

    def tell(self, message: Any) -> None:
        self._put((self._receive, message))

    def stop(self, *, block: bool = False) -> None:
        self._actor.on_stop()


class _Bare(Runtime):
    def __init__(self) -> None:
        super().__init__(_QueueActor, self._start)
        self._queue: deque[tuple[Callable[[Any], Any], Any]] = deque()

    def _start(self, cls: type[Any]) -> _BareRef:
        actor = cls()
        actor.actor_ref = _BareRef(actor, self._queue.append)
        ref: _BareRef = actor.actor_ref
        return ref

    def finish(self, answer: Any) -> None:
        self.answer = answer

    def wait(self) -> Any:
        take = self._queue.popleft
        while self._queue:
            receive, message = take()
            receive(message)
        return self.answer


@contextmanager
def _deque() -> Iterator[Runtime]:
    yield _Bare()


# -- thespian --------------------------------------------------------------------------------


@contextmanager
def _thespian() -> Iterator[Runtime]:
    from thespian.actors import Actor, ActorExitRequest, ActorSystem

    system = ActorSystem("simpleSystemBase")
    # Who is handling a message: thespian sends through the sender, not through an address.
    handling: list[Any] = []

    class Ref:
        __slots__ = ("address",)

        def __init__(self, address: Any) -> None:
            self.address = address

        def tell(self, message: Any) -> None:
            # In a tuple, since thespian has messages of its own.
            (handling[-1].send if handling else system.tell)(self.address, (message,))

        def stop(self, *, block: bool = False) -> None:
            handling[-1].send(self.address, ActorExitRequest())

    class Base(Actor):  # type: ignore[misc]
        @property
        def actor_ref(self) -> Ref:
            return Ref(self.myAddress)

        def on_stop(self) -> None:
            """Nothing to tidy up."""

        def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - its name
            if isinstance(message, tuple):
                handling.append(self)
                try:
                    self.on_receive(message[0])
                finally:
                    handling.pop()
            elif isinstance(message, ActorExitRequest):
                self.on_stop()

    try:
        yield Runtime(Base, lambda cls: Ref(system.createActor(cls)))
    finally:
        system.shutdown()


RUNTIMES: dict[str, tuple[Callable[[], AbstractContextManager[Runtime]], float]] = {
    # name: (how to open it, the share of the work it gets)
    "callboard": (_callboard, 1.0),
    "callboard-async": (_callboard_async, 1.0),
    "pykka": (_pykka, 0.5),
    "asyncio": (_asyncio, 1.0),
    "deque": (_deque, 1.0),
    "thespian": (_thespian, 0.1),
}


def actor(runtime: Runtime, receive: Callable[[Any, Any], None]) -> Callable[..., Any]:
    """Return a function that starts an actor with `receive(state, message)` as its handler.

    `state` is the actor itself: a benchmark keeps its fields there.
    """
    if runtime.asynchronous:

        class Async(runtime.base):  # type: ignore[name-defined,misc]
            def __init__(self, **fields: Any) -> None:
                super().__init__()
                self.__dict__.update(fields)

            async def on_receive(self, message: Any) -> None:
                receive(self, message)

        return lambda **fields: runtime.spawn(_filled(Async, fields))

    class Sync(runtime.base):  # type: ignore[name-defined,misc]
        def __init__(self, **fields: Any) -> None:
            super().__init__()
            self.__dict__.update(fields)

        on_receive = receive

    return lambda **fields: runtime.spawn(_filled(Sync, fields))


def _filled(cls: type[Any], fields: dict[str, Any]) -> type[Any]:
    """Bind the fields, so that `spawn(cls)` works alike on all runtimes."""
    return type(cls.__name__, (cls,), {"__init__": lambda self: cls.__init__(self, **fields)})
