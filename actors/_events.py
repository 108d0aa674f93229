"""The system's event stream: who wants to hear of dead letters, starts, restarts and stops."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

from loguru import logger

from actors._clock import Clock
from actors._errors import ActorDeadError, InvalidOption
from actors._messages import EVENTS, DeadLetter
from actors._ref import ActorRef

__all__ = ["DeadLetterReport", "Events", "Subscription"]

Subscriber = ActorRef[Any] | Callable[[Any], object]


class Subscription:
    """A subscription to a system's events; `cancel()` ends it."""

    __slots__ = ("_events", "kinds", "target")

    def __init__(self, events: Events, target: Subscriber, kinds: tuple[type, ...]) -> None:
        self._events = events
        self.target = target
        self.kinds = kinds

    def cancel(self) -> None:
        """Hear no more."""
        self._events.drop(self)


class Events:
    """What `system.events` is."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        # Invariant: replaced as a whole under _lock, so publishers read it without one.
        self._subscriptions: tuple[Subscription, ...] = ()
        # Invariant: changes under _lock; each leaves when it dies, of which a notice was ordered.
        self._actors: set[ActorRef[Any]] = set()
        # Those of them that failed, or took too long, at an event.
        # Invariant: replaced as a whole under _lock, too.
        self._overtaxed: frozenset[ActorRef[Any]] = frozenset()
        # Whether anybody is subscribed; if not, there is no need to make an event.
        self.heard = False

    def subscribe(self, target: Subscriber, *kinds: type) -> Subscription:
        """Have events told to an actor until it is dead, or a function called with them.

        An actor that failed at an event is told no more of what happens to it, or to others that
        did, or they would feed each other without end. A dead actor is told nothing, and a system
        that was shut down has no more to tell; neither is an error, as it may happen meanwhile.

        Args:
            target: an `ActorRef`, or a function. A function runs on the thread that publishes and
                must be quick; what it raises is logged.
            kinds: the event types wanted; none means all.

        Raises:
            InvalidOption: `target` is neither, or one of `kinds` is no type.
        """
        if not isinstance(target, ActorRef) and not callable(target):
            raise InvalidOption("target", target, "an ActorRef or a function of one event")
        for kind in kinds:
            if not isinstance(kind, type):
                raise InvalidOption("kinds", kind, "an event type, such as ActorStopped")
        subscription = Subscription(self, target, kinds)
        with self._lock:
            self._subscriptions = (*self._subscriptions, subscription)
            self.heard = True
        if isinstance(target, ActorRef):
            self._expect_end(target)
        return subscription

    def _expect_end(self, target: ActorRef[Any]) -> None:
        with self._lock:
            if target in self._actors:
                return
            self._actors.add(target)
        # Of a dead actor the notice comes at once, so none stays behind.
        target._cell.order_notice(lambda: self._forget(target))

    def _forget(self, target: ActorRef[Any]) -> None:
        with self._lock:
            self._subscriptions = tuple(s for s in self._subscriptions if s.target is not target)
            self.heard = bool(self._subscriptions)
            self._actors.discard(target)
            self._overtaxed -= {target}

    def drop(self, subscription: Subscription) -> None:
        """End a subscription."""
        with self._lock:
            self._subscriptions = tuple(s for s in self._subscriptions if s is not subscription)
            self.heard = bool(self._subscriptions)

    def publish(self, event: Any) -> None:
        """Send an event to everybody who wants its type."""
        subscriptions = self._subscriptions
        if not subscriptions:
            return
        spared = self._spared(getattr(event, "ref", None), getattr(event, "message", None))
        for subscription in subscriptions:
            if subscription.kinds and not isinstance(event, subscription.kinds):
                continue
            target = subscription.target
            try:
                if isinstance(target, ActorRef):
                    if target not in spared:
                        target.tell(event)
                else:
                    target(event)
            except ActorDeadError:
                self.drop(subscription)
            except BaseException:  # noqa: BLE001 - or SystemExit would end a turn half way
                logger.exception("a subscriber to system events failed")

    def _spared(self, about: object, message: object) -> frozenset[ActorRef[Any]]:
        """Return who is not told of an event about that actor, which has to do with a message."""
        if not isinstance(about, ActorRef):
            return frozenset()
        if type(message) in EVENTS:
            with self._lock:
                # Unless it is no subscriber, or has died meanwhile.
                self._overtaxed |= {about} & self._actors
        overtaxed = self._overtaxed
        return overtaxed if about in overtaxed else frozenset()


class DeadLetterReport:
    """Logs dead letters without flooding the log: ten of them, then a count every 5 minutes."""

    FIRST = 10
    INTERVAL = 300.0

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._number = itertools.count(1)
        # Invariant: as a mailbox's permit; whoever has it may change the two below. No lock: many
        # actors that die at once bury their messages on as many threads.
        self._permit = {0: 1}
        self._told = self.FIRST  # up to which number the log has them
        self._since = clock.monotonic()

    def note(self, letter: DeadLetter) -> None:
        """Log the letter, or count it."""
        number = next(self._number)
        if number <= self.FIRST:
            logger.warning(
                "dead letter ({}) to {}: {}", letter.kind, letter.target, type(letter.message)
            )
            return
        if self._clock.monotonic() - self._since < self.INTERVAL or not self._permit.pop(0, 0):
            return
        count = 0
        now = self._clock.monotonic()
        # Not if somebody else told of it between our look and our grip.
        if now - self._since >= self.INTERVAL and number > self._told:
            count, self._told, self._since = number - self._told, number, now
        self._permit[0] = 1
        if count:
            logger.warning("{} more dead letters, the last to {}", count, letter.target)
