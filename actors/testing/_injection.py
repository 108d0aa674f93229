"""What all faults share: whom they hit, how often, and that they can be ended."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any, Protocol

from actors._errors import InvalidOption
from actors._ref import ActorRef
from actors.testing._kernel import VirtualClock

__all__ = ["Injection", "Site", "Target"]


class Site(Protocol):
    """The simulation, as its faults see it."""

    seed: int
    clock: VirtualClock

    def fault(self, target: str, number: int, what: str) -> None:
        """Write down that a fault was injected.

        Args:
            target: path of the actor, or name of what it hit.
            number: of the message it is about; 0 if about none.
            what: which fault, in words.
        """


class Injection:
    """A fault that was asked for.

    Attributes:
        times: how often it was injected.
    """

    def __init__(self, site: Site, index: int) -> None:
        self._site = site
        # Each has a source of its own, so that one fault more does not change all the others.
        self._random = random.Random(f"{site.seed} fault {index}")  # noqa: S311 - reproducible on purpose
        self.times = 0
        self._stopped = False

    def stop(self) -> None:
        """Inject it no more."""
        self._stopped = True

    def _happens(self, rate: float) -> bool:
        """Throw the dice; also where the fault could not happen, so that `stop` shifts nothing."""
        hit = rate >= 1 or (rate > 0 and self._random.random() < rate)
        return hit and not self._stopped

    def _inject(self, target: str, number: int, what: str) -> None:
        self.times += 1
        self._site.fault(target, number, what)


class Target:
    """Whom a fault hits.

    Args:
        given: the reference of an actor; a path in which `*` stands for anything but "/" and `**`
            for anything; a class of actors; or None for everybody.
        option: the name of the option; as "source", the name of a thread is good, too.

    Raises:
        InvalidOption: it is none of these.
    """

    def __init__(self, given: Any, option: str = "target") -> None:
        self._paths: Callable[[str], object] | None = None
        self._cls: type[Any] | None = None
        if isinstance(given, ActorRef):
            self._paths = given.path.__eq__
        elif isinstance(given, str) and given:
            # What sends may be a thread, which has a name; what is hit is an actor.
            if option == "target" and not given.startswith(("/", "**")):
                expected = f'a path, which begins with "/", such as "/{given}"'
                raise InvalidOption(option, given, expected)
            parts = (re.escape(part) for part in re.split(r"(\*\*?)", given))
            pattern = "".join(parts).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
            self._paths = re.compile(pattern, re.DOTALL).fullmatch
        elif isinstance(given, type):
            self._cls = given
        elif given is not None:
            expected = 'an actor\'s reference, a path such as "/team/*", a class of actors, or None'
            raise InvalidOption(option, given, expected)

    def hits(self, path: str, cls: type[Any] | None) -> bool:
        """Tell whether an actor is meant; `cls` is None where only the path is known."""
        if self._paths is not None:
            return bool(self._paths(path))
        return self._cls is None or (cls is not None and issubclass(cls, self._cls))
