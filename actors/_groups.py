"""Named groups of actors, as Erlang's `pg` has them: join, leave, and reach all who are in."""

from __future__ import annotations

import threading
from typing import Any

from actors._errors import ActorDeadError, ForeignRef, MailboxFull
from actors._options import filled
from actors._ref import ActorRef, own_ref

__all__ = ["Groups"]


class Groups:
    """The groups of one system; an actor that ends leaves all of its groups.

    Args:
        system: the system whose actors may join.
    """

    def __init__(self, system: Any) -> None:
        self._system = system
        self._lock = threading.RLock()
        # Invariant: both change together under _lock, and no group is without members.
        self._members: dict[str, dict[ActorRef[Any], None]] = {}  # in the order they joined
        self._groups_of: dict[ActorRef[Any], set[str]] = {}

    def join(self, group: str, ref: ActorRef[Any]) -> None:
        """Have an actor in a group; once is enough, more does no harm.

        Raises:
            InvalidOption: the group's name is no text, or empty; or `ref` is no reference.
            ForeignRef: the actor lives in another system, or is one of pykka's own.
            ActorDeadError: it is dead.
        """
        filled("group", group)
        if own_ref(ref).system is not self._system:
            raise ForeignRef(
                f"{ref} lives in {ref.system!r} and cannot join a group of {self._system!r}; "
                "join it there"
            )
        with self._lock:
            new = ref not in self._groups_of
            self._groups_of.setdefault(ref, set()).add(group)
            self._members.setdefault(group, {})[ref] = None
        if new:
            # Of a dead actor the notice comes at once, so none stays behind.
            ref._cell.order_notice(lambda: self._leave_all(ref))
        if not ref.is_alive():
            self._leave_all(ref)
            raise ref._is_dead()

    def leave(self, group: str, ref: ActorRef[Any]) -> bool:
        """Take an actor out of a group; tell whether it was in.

        Raises:
            InvalidOption: the group's name is no text, or empty; or `ref` is no reference.
        """
        filled("group", group)
        own_ref(ref)
        with self._lock:
            groups = self._groups_of.get(ref)
            if groups is None or group not in groups:
                return False
            groups.discard(group)
            # The empty set stays until the actor ends: a notice of that is on its way already.
            self._forget(group, ref)
            return True

    def _forget(self, group: str, ref: ActorRef[Any]) -> None:
        members = self._members[group]
        del members[ref]
        if not members:
            del self._members[group]

    def _leave_all(self, ref: ActorRef[Any]) -> None:
        with self._lock:
            for group in self._groups_of.pop(ref, ()):
                self._forget(group, ref)

    def members(self, group: str) -> tuple[ActorRef[Any], ...]:
        """Return who is in a group, in the order they joined; nobody, if there is no such group."""
        filled("group", group)
        with self._lock:
            return tuple(self._members.get(group, ()))

    def names(self) -> tuple[str, ...]:
        """Return the names of the groups that have members."""
        with self._lock:
            return tuple(self._members)

    def tell(self, group: str, message: Any) -> int:
        """Send a message to all who are in a group; return how many took it."""
        told = 0
        for ref in self.members(group):
            try:
                ref.tell(message)
            except (ActorDeadError, MailboxFull):
                continue  # and so is in the count of those who did not take it
            told += 1
        return told
