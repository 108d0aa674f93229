"""The contract of an actor: the hooks a user writes, and what the user may call from inside them.

`Actor` is a third pykka runtime beside `pykka.ThreadingActor`. An instance belongs to one cell of
the engine, which gives it one message at a time; what an instance can do, it does by asking its
cell.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import CodeType, FunctionType, TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast, overload

import pykka

from actors._errors import CallboardError, InvalidOption, NoReplyExpected, UnexpectedCoroutine
from actors._future import Future
from actors._mailbox import Bounded, Unbounded
from actors._options import flag, hashable, patience
from actors._ref import ActorRef, own_ref
from actors._supervision import DISPATCHERS, ChildSpec, DispatcherName, Supervision

__all__ = ["Actor", "KeyedTimers", "as_spec"]

A = TypeVar("A", bound="Actor")

_HOOKS = ("on_receive", "on_start", "on_stop", "on_failure")


class KeyedTimers:
    """The timers of one actor: each has a key, sends the actor a message, and dies with it."""

    __slots__ = ("_cell",)

    def __init__(self, cell: Any) -> None:
        self._cell = cell

    def start(self, key: object, message: Any, *, after: float, every: bool = False) -> None:
        """Send `message` to this actor later; a timer of the same key is replaced.

        A message of a replaced or cancelled timer is not delivered, even if it was queued.

        Args:
            key: names the timer; any hashable object.
            message: what to send.
            after: seconds until then, zero or more.
            every: whether to go on, `after` seconds from each delivery (fixed delay).

        Raises:
            InvalidOption: `key` is not hashable, `after` no number of seconds, or `every` neither
                True nor False; a timer of the same key goes on.
        """
        hashable("key", key)
        flag("every", every, "; how often is said by `after`")
        if isinstance(after, bool) or not isinstance(after, (int, float)) or not after >= 0:
            raise InvalidOption("after", after, "a number of seconds, zero or more")
        after = patience(after)  # which knows of whole numbers that no time can be added to
        self._cell.start_timer(key, message, after, every)

    def cancel(self, key: object) -> None:
        """Cancel the timer of that key, if there is one."""
        hashable("key", key)
        self._cell.cancel_timer(key)

    def is_active(self, key: object) -> bool:
        """Tell whether a timer of that key will still deliver."""
        hashable("key", key)
        return cast("bool", self._cell.has_timer(key))


if TYPE_CHECKING:
    _Default = property
else:

    class _Default:
        """A property that gives way to an attribute of the instance.

        So an actor written for pykka may have attributes of its own that happen to be called
        `children` or `system`. The cell sets `actor_ref` on each instance, because a property
        would cost a tenth of a message.
        """

        def __init__(self, get: Callable[[Any], Any]) -> None:
            self._get = get
            self.__doc__ = get.__doc__

        def __get__(self, instance: Any, owner: type[Any]) -> Any:
            return self if instance is None else self._get(instance)


class Actor(pykka.Actor):
    """The base of all actors.

    Override `on_receive` (and, where needed, `on_start`, `on_stop`, `on_failure`); each may be
    `async def`, which places the actor on an event loop instead of the thread pool.

    Class attributes:
        supervision: how the actor supervises the children it spawns.
        mailbox: `Unbounded()` or `Bounded(n)`.
        dispatcher: "pool", "loop" or "pinned"; None chooses by whether a hook is async.
        stash_capacity: how many messages `stash` holds.
        flight_recorder: how many of its last messages are kept for `ActorFailed`, from the start.
            0 keeps them from the first failure on, as many as the system says.
    """

    supervision: ClassVar[Supervision] = Supervision()
    mailbox: ClassVar[Unbounded | Bounded] = Unbounded()
    dispatcher: ClassVar[DispatcherName | None] = None
    stash_capacity: ClassVar[int] = 1000
    flight_recorder: ClassVar[int] = 0

    _is_async: ClassVar[bool]
    """Whether a hook or a public method is `async def`; set by `as_spec` on each class, once its
    attributes were found to be good."""

    _brief: ClassVar[bool] = False
    """Whether hooks neither wait nor take long, so that whoever sends may run them at once. For
    the runtime's own actors: a loop that awaits them is then not held up by a change of thread."""

    _may_reply_later: ClassVar[bool] = False
    """Whether it may answer before its handler ends, so that no asker runs its turn: the answer
    would wait for the end. Set by `as_spec` where the class says so, else when it first does."""

    _start_in_default_system: ClassVar[Callable[..., Any] | None] = None
    """Set by `_system`, which this layer cannot import."""

    # Invariant: set by the cell before __init__ runs, so all of the below works in a constructor.
    _cell: Any = None

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        # pykka's constructor is not called: what it makes stands in the cell.
        pass

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> ActorRef[Self]:
        """Start an actor without a supervisor in the default system, as in pykka.

        It is entered in `pykka.ActorRegistry`; if it fails, it stops.
        """
        start = Actor._start_in_default_system
        if start is None:
            raise CallboardError("import actors, not actors._actor: there is no system to start in")
        return cast("ActorRef[Self]", start(cls, args, kwargs))

    # -- pykka's attributes ------------------------------------------------------------------

    @_Default
    def actor_ref(self) -> ActorRef[Self]:
        """This actor's reference; hand it out instead of `self`."""
        return cast("ActorRef[Self]", self._owner().ref)

    @property
    def actor_urn(self) -> str:  # type: ignore[override]
        """This actor's universally unique name."""
        return cast("str", self._owner().urn)

    @property
    def actor_inbox(self) -> Any:  # type: ignore[override]
        """This actor's mailbox, in pykka's terms."""
        return self._owner().inbox

    @property
    def actor_stopped(self) -> Any:  # type: ignore[override]
        """An event that is set once the actor is dead."""
        return self._owner().stopped_event()

    def __str__(self) -> str:
        return self._cell.label if self._cell else f"{type(self).__name__} (not started)"

    def _owner(self) -> Any:
        if self._cell is None:
            raise CallboardError(
                f"{type(self).__name__} was constructed directly; start it with "
                "`system.spawn(...)`, `self.spawn(...)` or `.start()`"
            )
        return self._cell

    @staticmethod
    def _create_actor_inbox() -> Any:
        raise NotImplementedError("the cell makes the mailbox")

    @staticmethod
    def _create_future() -> Future[Any]:
        return Future()

    def _start_actor_loop(self) -> None:
        raise NotImplementedError("the cell runs the actor")

    # -- the hooks ---------------------------------------------------------------------------

    def on_start(self) -> Any:
        """Run before the first message, at every start. A failure here counts as a restart."""

    def on_receive(self, message: Any) -> Any:
        """Handle one message; what is returned answers a request.

        An exception answers a request, and fails the actor where there is nobody to answer.
        """
        self._owner().log_unexpected(message)

    def on_stop(self) -> Any:
        """Run at a wanted end, after the last message and after the children have ended."""

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> Any:
        """Run instead of `on_stop` when the actor failed, before it is restarted or dead."""

    # -- what hooks may call -----------------------------------------------------------------

    @_Default
    def system(self) -> Any:
        """The actor system this actor lives in."""
        return self._owner().system

    @_Default
    def timers(self) -> KeyedTimers:
        """This actor's timers."""
        return KeyedTimers(self._owner())

    @overload
    def spawn(
        self, what: type[A], *args: Any, name: str | None = None, **kwargs: Any
    ) -> ActorRef[A]: ...

    @overload
    def spawn(
        self, what: ChildSpec, *args: Any, name: str | None = None, **kwargs: Any
    ) -> ActorRef[Any]: ...

    def spawn(
        self, what: type[A] | ChildSpec, *args: Any, name: str | None = None, **kwargs: Any
    ) -> ActorRef[Any]:
        """Start a child, supervised by this actor.

        Args:
            what: an actor class, with its constructor's arguments after it; or a `ChildSpec`.
            name: unique among the living children; None takes a generated one.

        Raises:
            InvalidOption: an option or an attribute of the class makes no sense.
            UnexpectedCoroutine: a hook of the class is a generator function.
            NameTaken: a living child has the name.
            SystemStopped: this actor is stopping, or the child was killed in its constructor.
            BaseException: what the child's constructor raised.
        """
        return cast("ActorRef[Any]", self._owner().spawn(as_spec(what, args, name, kwargs)))

    def spawn_in_order(self, *what: type[Any] | ChildSpec) -> tuple[ActorRef[Any], ...]:
        """Start children one after the other, as OTP's supervisor does.

        It returns at once; the references are good, and what is sent waits. The constructor and
        `on_start` of each (and those that it starts in order itself) have ended before the next one
        begins. One that fails counts as a restart, and the next waits until it runs, has ended for
        good, or the supervisor gives up.

        Args:
            what: actor classes, or specifications of children.

        Raises:
            NameTaken: a living child has the name; those before it are started.
            SystemStopped: this actor is stopping, or the child was killed in its constructor.
        """
        owner = self._owner()
        specs = [as_spec(one, (), None, {}) for one in what]
        return tuple(owner.spawn(spec, in_order=True) for spec in specs)

    @_Default
    def children(self) -> tuple[ActorRef[Any], ...]:
        """References to the living children, in start order."""
        return cast("tuple[ActorRef[Any], ...]", self._owner().child_refs())

    def stop(self) -> None:
        """End normally, after what is queued now.

        To a supervisor this is OTP's exit reason "normal": a permanent child is restarted, a
        transient or temporary one is not. `ref.stop()`, from outside, is final for every child.
        """
        self._owner().end_normally()

    def watch(self, ref: ActorRef[Any]) -> None:
        """Have `Terminated(ref, reason)` delivered once when that actor is dead (or is already).

        Raises:
            ForeignRef: it is an actor of one of pykka's own runtimes, which do not tell.
            ForkedSystem: its system was started before this process was forked.
            InvalidOption: it is no reference.
        """
        self._owner().watch(own_ref(ref))

    def unwatch(self, ref: ActorRef[Any]) -> None:
        """Have it not delivered after all, even if it is already queued.

        Raises:
            ForeignRef, InvalidOption: as `watch`.
        """
        self._owner().unwatch(own_ref(ref))

    def reply_later(self) -> Future[Any]:
        """Take over the reply to the request being handled; what the handler returns is ignored.

        Set the future later, from wherever. If this actor ends first, the sender gets
        `ActorDeadError`; a future nobody waits for any more is `done()`, and `try_set` says so.

        Raises:
            NoReplyExpected: the message was told, or its reply was taken over already.
        """
        future = self._owner().take_reply()
        if future is None:
            raise NoReplyExpected(
                "there is no reply to take over: the message was told, not requested"
            )
        return cast("Future[Any]", future)

    def stash(self) -> None:
        """Put the message being handled aside; its sender goes on waiting.

        Raises:
            StashOverflow: the stash is full.
            NoReplyExpected: no message is being handled.
        """
        self._owner().stash()

    def unstash_all(self) -> None:
        """Put all stashed messages in front of the waiting ones, in their order."""
        self._owner().unstash_all()


def as_spec(
    what: type[Any] | ChildSpec, args: tuple[Any, ...], name: str | None, kwargs: dict[str, Any]
) -> ChildSpec:
    """Turn the arguments of `spawn` into a `ChildSpec`.

    Raises:
        InvalidOption: `what` is no actor class, an attribute of the class makes no sense, or
            arguments stand beside a ChildSpec.
        UnexpectedCoroutine: a hook of the class is a generator function.
    """
    if not args and name is None and not kwargs and isinstance(what, type):
        # Most are spawned by their class alone; these share one specification, checked once.
        plain: ChildSpec | None = getattr(what, "_plain_spec", None)
        if plain is None or plain.cls is not what:
            plain = as_spec(ChildSpec(what), (), None, {})
            what._plain_spec = plain
        return plain
    if isinstance(what, ChildSpec):
        if args or kwargs or name is not None:
            raise InvalidOption("spawn", what, "a ChildSpec alone: put the arguments into it")
        spec = what
    else:
        if not isinstance(what, type):
            raise InvalidOption("spawn", what, "a class derived from actors.Actor, or a ChildSpec")
        spec = ChildSpec(what, args, kwargs, name)
    if not issubclass(spec.cls, Actor):
        raise InvalidOption("spawn", spec.cls, "a class derived from actors.Actor")
    if "_is_async" not in spec.cls.__dict__:
        _check_attributes(spec.cls)
        _check_hooks(spec.cls)
        spec.cls._may_reply_later = _mentions_reply_later(spec.cls)
        spec.cls._is_async = _has_async_hooks(spec.cls)
    _check_mailbox(spec.mailbox)
    return spec


def _check_mailbox(mailbox: Any) -> None:
    if mailbox is not None and not isinstance(mailbox, (Unbounded, Bounded)):
        raise InvalidOption("mailbox", mailbox, "Unbounded() or Bounded(n)")


def _check_attributes(cls: type[Actor]) -> None:
    """Check the class attributes that are options.

    Raises:
        InvalidOption: one of them makes no sense.
    """
    supervision: object = cls.supervision
    if not isinstance(supervision, Supervision):
        raise InvalidOption(f"{cls.__name__}.supervision", supervision, "a Supervision(...)")
    _check_mailbox(cls.mailbox)
    dispatcher: object = cls.dispatcher
    if not (dispatcher is None or dispatcher in DISPATCHERS):
        expected = "one of " + ", ".join(map(repr, DISPATCHERS)) + ", or None"
        raise InvalidOption(f"{cls.__name__}.dispatcher", dispatcher, expected)
    for option in ("stash_capacity", "flight_recorder"):
        size: object = getattr(cls, option)
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise InvalidOption(
                f"{cls.__name__}.{option}", size, "a whole number of messages, 0 or more"
            )


def _check_hooks(cls: type[Actor]) -> None:
    """Check that the hooks can be run.

    Raises:
        InvalidOption: one cannot be called.
        UnexpectedCoroutine: one has a `yield` in it, so that to call it runs nothing of it.
    """
    for name in _HOOKS:
        hook = getattr(cls, name)
        if not callable(hook) and not hasattr(type(hook), "__get__"):
            raise InvalidOption(f"{cls.__name__}.{name}", hook, "a method")
        if inspect.isgeneratorfunction(hook) or inspect.isasyncgenfunction(hook):
            raise UnexpectedCoroutine(
                f"{cls.__name__}.{name} has a `yield` in it, which makes it a generator: nothing "
                "would ever run it. Return a list, or have a method of its own yield and return "
                "what that gives; to wait for something, write `async def` and `await`"
            )


def _has_async_hooks(cls: type[Any]) -> bool:
    for base in cls.__mro__:
        if base is Actor:
            break
        for name, value in vars(base).items():
            if (name in _HOOKS or not name.startswith("_")) and inspect.iscoroutinefunction(value):
                return True
    return False


def _mentions_reply_later(cls: type[Any]) -> bool:
    for base in cls.__mro__:
        if base in Actor.__mro__:
            continue
        for value in vars(base).values():
            function = value.fget if isinstance(value, property) else value
            while isinstance(function, (FunctionType, staticmethod, classmethod)):
                code = getattr(function, "__code__", None)
                if code is not None and _mentions(code, "reply_later"):
                    return True
                function = getattr(function, "__wrapped__", None)
    return bool(cls._may_reply_later)


def _mentions(code: CodeType, name: str) -> bool:
    return name in code.co_names or any(
        _mentions(part, name) for part in code.co_consts if isinstance(part, CodeType)
    )
