"""A probe: an actor of the test's own, which the test asks what it was sent.

After Akka's `TestProbe`. The expectations are written once, as generators that yield what they
want to wait for; one driver blocks the test's thread, the other (`probe.aio`) awaits.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, ClassVar, TypeVar

import msgspec

from actors._actor import Actor
from actors._errors import InvalidOption, NoReplyExpected, RequestCancelled, Timeout
from actors._future import Future
from actors._messages import Terminated
from actors._ref import ActorRef
from actors._supervision import ChildSpec
from actors.testing._errors import ExpectationFailed
from actors.testing._waiting import wait, wait_on_loop

__all__ = ["PATIENCE", "QUIET", "AsyncExpectations", "TestProbe"]

T = TypeVar("T")

PATIENCE = 3.0
"""Seconds that an expectation waits where it is not told otherwise (Akka's default)."""

QUIET = 0.1
"""Seconds in which `expect_none` wants nothing to come (Akka's default)."""

_REMEMBERED = 5


class _Arrived(msgspec.Struct, frozen=True):
    """A message, and where its answer goes if it was a request."""

    message: Any
    reply: Future[Any] | None


class _Watch(msgspec.Struct, frozen=True):
    """Have the probe watch an actor."""

    ref: ActorRef[Any]


class _Queue:
    """What has arrived and was not taken, and the one who waits for more."""

    def __init__(self) -> None:
        # Invariant: guards the fields below; if somebody waits, nothing else is there to take.
        self._lock = threading.RLock()
        self._arrived: deque[_Arrived] = deque()
        self._taker: Future[_Arrived] | None = None

    def put(self, arrived: _Arrived) -> None:
        with self._lock:
            taker, self._taker = self._taker, None
            # A taker that gave up meanwhile refuses it.
            if taker is None or not taker.try_set(arrived):
                self._arrived.append(arrived)

    def next(self) -> Future[_Arrived]:
        future: Future[_Arrived] = Future()
        with self._lock:
            if self._arrived:
                future.set(self._arrived.popleft())
            else:
                self._taker = future
        return future

    def put_back(self, arrived: _Arrived) -> None:
        with self._lock:
            self._arrived.appendleft(arrived)

    def waiting(self) -> list[Any]:
        with self._lock:
            return [arrived.message for arrived in self._arrived]


class _ProbeActor(Actor):
    """Puts everything it receives into the probe's queue."""

    is_probe = True
    """For simulations: whoever asks it waits for the test."""

    def __init__(self, queue: _Queue) -> None:
        super().__init__()
        self._queue = queue

    def on_receive(self, message: Any) -> None:
        if isinstance(message, _Watch):
            self.watch(message.ref)
            return
        try:
            reply = self.reply_later()
        except NoReplyExpected:
            reply = None
        self._queue.put(_Arrived(message, reply))


_Steps = Generator[float, _Arrived | None, T]
"""An expectation: yields the seconds it would wait for the next message, and is sent it or None."""


class _Expectations:
    """What a probe's messages are held against, whoever waits for them."""

    def __init__(self, system: Any) -> None:
        self.queue = _Queue()
        self.path = ""
        self._system = system
        self._last: _Arrived | None = None
        self._before: deque[Any] = deque(maxlen=_REMEMBERED)

    def open_request(self) -> Future[Any]:
        if self._last is None or self._last.reply is None:
            what = "nothing was taken yet" if self._last is None else "it was told, not requested"
            raise NoReplyExpected(f"{self.path} has no request to answer: {what}")
        return self._last.reply

    def _take(self, arrived: _Arrived, received: list[Any]) -> Any:
        self._last = arrived
        received.append(arrived.message)
        return arrived.message

    def _failed(self, expected: str, received: list[Any]) -> ExpectationFailed:
        return ExpectationFailed(
            self.path, expected, received, self.queue.waiting(), tuple(self._before)
        )

    def expect(self, test: Callable[[Any], object], words: str, timeout: float) -> _Steps[Any]:
        received: list[Any] = []
        arrived = yield timeout
        if arrived is None:
            raise self._failed(f"{words} within {timeout:g} s", received)
        message = self._take(arrived, received)
        if not test(message):
            raise self._failed(words, received)
        self._before.append(message)
        return message

    def expect_none(self, within: float) -> _Steps[None]:
        received: list[Any] = []
        arrived = yield within
        if arrived is not None:
            self._take(arrived, received)
            raise self._failed(f"no message within {within:g} s", received)

    def receive_until(
        self, predicate: Callable[[Any], object], timeout: float
    ) -> _Steps[list[Any]]:
        words = f"a message that fulfils {_name(predicate)} within {timeout:g} s"
        received: list[Any] = []
        until = self._system.clock.monotonic() + timeout
        while True:
            arrived = yield max(0.0, until - self._system.clock.monotonic())
            if arrived is None:
                raise self._failed(words, received)
            message = self._take(arrived, received)
            if predicate(message):
                self._before.extend(received)
                return received

    def block(self, steps: _Steps[T], method: str) -> T:
        instead = f"await probe.aio.{method}(…)"

        def arrival(seconds: float) -> _Arrived | None:
            future = self.queue.next()
            try:
                return wait(future, seconds, instead=instead)
            except Timeout:
                return _given_up(future)
            except BaseException:
                self._give_back(future)
                raise

        try:
            seconds = next(steps)
            while True:
                seconds = steps.send(arrival(seconds))
        except StopIteration as end:
            value: T = end.value
            return value

    async def wait(self, steps: _Steps[T]) -> T:
        try:
            seconds = next(steps)
            while True:
                future = self.queue.next()
                arrived: _Arrived | None
                try:
                    arrived = await wait_on_loop(future, seconds)
                except Timeout:
                    arrived = _given_up(future)
                except BaseException:
                    self._give_back(future)
                    raise
                seconds = steps.send(arrived)
        except StopIteration as end:
            value: T = end.value
            return value

    def _give_back(self, future: Future[_Arrived]) -> None:
        arrived = _given_up(future)
        if arrived is not None:
            self.queue.put_back(arrived)


class TestProbe:
    """An actor that records what it receives, and the expectations a test has of that.

    Messages are taken in the order in which they arrived; what an expectation has looked at is
    taken, whether it was met or not. The methods block the test's thread, or have the simulation
    run on; those of the same names in `aio` are for async tests.

    Args:
        system: the actor system to live in.
        name: names its actor; None has the system choose.

    Attributes:
        ref: the reference to give to whoever is tested.
        aio: `expect`, `expect_type`, `expect_none`, `expect_terminated` and `receive_until`, to be
            awaited.
    """

    __test__: ClassVar[bool] = False

    def __init__(self, system: Any, name: str | None = None) -> None:
        self._expectations = _Expectations(system)
        # Temporary: a probe that dies, dies by the test's will.
        self.ref: ActorRef[Any] = system.spawn(
            ChildSpec(_ProbeActor, (self._expectations.queue,), name=name, restart="temporary")
        )
        self._expectations.path = self.ref.path
        self.aio = AsyncExpectations(self._expectations)

    def __repr__(self) -> str:
        return f"<TestProbe {self.ref.path}>"

    # -- expecting ---------------------------------------------------------------------------

    def expect(self, expected: Any, timeout: float = PATIENCE) -> Any:
        """Take the next message, which has to be the expected one, and return it.

        Args:
            expected: the message itself; or a predicate of it: a function, or anything else that
                can be called and is no class.
            timeout: seconds to wait for it.

        Raises:
            ExpectationFailed: another message came, or none.
            WouldBlockLoop: an event loop runs on this thread; await `probe.aio.expect`.
        """
        mine = self._expectations
        return mine.block(mine.expect(*_test_of(expected), timeout), "expect")

    def expect_type(self, kind: type[T], timeout: float = PATIENCE) -> T:
        """Take the next message, which has to be of that type, and return it; see `expect`."""
        mine = self._expectations
        message: T = mine.block(mine.expect(*_test_of_type(kind), timeout), "expect_type")
        return message

    def expect_none(self, within: float = QUIET) -> None:
        """Make sure that no message is there and none comes within so many seconds.

        Raises:
            ExpectationFailed: one came.
            WouldBlockLoop: as `expect`.
        """
        mine = self._expectations
        mine.block(mine.expect_none(within), "expect_none")

    def expect_terminated(self, ref: ActorRef[Any], timeout: float = PATIENCE) -> Terminated:
        """Take the next message, which has to be that the watched actor is dead; see `expect`."""
        test, words = _test_of_end(ref)
        mine = self._expectations
        message: Terminated = mine.block(mine.expect(test, words, timeout), "expect_terminated")
        return message

    def receive_until(
        self, predicate: Callable[[Any], object], timeout: float = PATIENCE
    ) -> list[Any]:
        """Take messages until one fulfils the predicate, and return them all, that one included.

        Args:
            predicate: of one message.
            timeout: seconds for all of them together.

        Raises:
            ExpectationFailed: none did within `timeout`.
            WouldBlockLoop: as `expect`.
        """
        mine = self._expectations
        return mine.block(mine.receive_until(predicate, timeout), "receive_until")

    # -- acting ------------------------------------------------------------------------------

    def send(self, ref: ActorRef[Any], message: Any) -> None:
        """Tell an actor something; let it answer by giving it `probe.ref` in the message.

        Raises:
            ActorDeadError: it is dead.
        """
        ref.tell(message)

    def reply(self, value: Any = None) -> None:
        """Answer the request that was taken last.

        Raises:
            NoReplyExpected: what was taken last was told, or nothing was taken.
            AlreadySet: it is answered, or nobody waits for the answer any more.
        """
        self._expectations.open_request().set(value)

    def reply_error(self, error: BaseException) -> None:
        """Answer the request that was taken last with an error; raises as `reply` does."""
        self._expectations.open_request().set_exception(error)

    def watch(self, ref: ActorRef[Any]) -> None:
        """Have the end of an actor arrive as a message; at once if it is dead."""
        self.ref.tell(_Watch(ref))

    def stop(self) -> None:
        """Stop the probe's actor, for what others do then."""
        self.ref.stop(block=False)


class AsyncExpectations:
    """The expectations of a probe, to be awaited; each is as the probe's method of its name."""

    def __init__(self, expectations: _Expectations) -> None:
        self._expectations = expectations

    def expect(self, expected: Any, timeout: float = PATIENCE) -> Coroutine[Any, Any, Any]:
        """As `TestProbe.expect`."""
        mine = self._expectations
        return mine.wait(mine.expect(*_test_of(expected), timeout))

    def expect_type(self, kind: type[T], timeout: float = PATIENCE) -> Coroutine[Any, Any, T]:
        """As `TestProbe.expect_type`."""
        mine = self._expectations
        return mine.wait(mine.expect(*_test_of_type(kind), timeout))

    def expect_none(self, within: float = QUIET) -> Coroutine[Any, Any, None]:
        """As `TestProbe.expect_none`."""
        mine = self._expectations
        return mine.wait(mine.expect_none(within))

    def expect_terminated(
        self, ref: ActorRef[Any], timeout: float = PATIENCE
    ) -> Coroutine[Any, Any, Terminated]:
        """As `TestProbe.expect_terminated`."""
        mine = self._expectations
        return mine.wait(mine.expect(*_test_of_end(ref), timeout))

    def receive_until(
        self, predicate: Callable[[Any], object], timeout: float = PATIENCE
    ) -> Coroutine[Any, Any, list[Any]]:
        """As `TestProbe.receive_until`."""
        mine = self._expectations
        return mine.wait(mine.receive_until(predicate, timeout))


def _given_up(future: Future[_Arrived]) -> _Arrived | None:
    """Stop waiting; return what came in the very last moment."""
    future.cancel()
    try:
        return future.get(timeout=0)
    except RequestCancelled:
        return None


def _name(predicate: Any) -> str:
    return getattr(predicate, "__qualname__", None) or repr(predicate)


def _test_of(expected: Any) -> tuple[Callable[[Any], object], str]:
    if isinstance(expected, type):
        raise InvalidOption(
            "expected", expected, "a message or a predicate; for a type use expect_type"
        )
    if callable(expected):
        return expected, f"a message that fulfils {_name(expected)}"
    return lambda message: message == expected, repr(expected)


def _test_of_type(kind: type[Any]) -> tuple[Callable[[Any], object], str]:
    return lambda message: isinstance(message, kind), f"a {kind.__qualname__}"


def _test_of_end(ref: ActorRef[Any]) -> tuple[Callable[[Any], object], str]:
    return (
        lambda message: isinstance(message, Terminated) and message.ref == ref,
        f"the end of {ref.path}",
    )
