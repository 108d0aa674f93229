"""The Structs that every layer shares: signals to actors, events of the system, its statistics."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

__all__ = [
    "EVENTS",
    "ActorFailed",
    "ActorRestarted",
    "ActorStarted",
    "ActorStopped",
    "DeadLetter",
    "DeadLetterKind",
    "Health",
    "MailboxHigh",
    "ShutdownReport",
    "SlowHandler",
    "SystemFailed",
    "SystemStats",
    "Terminated",
    "TreeNode",
    "shortened",
]

DeadLetterKind = Literal[
    "actor_dead",  # the target had stopped before it came to the message
    "failed",  # a told message whose handler failed, and there was nobody to answer
    "expired",  # a request whose deadline passed while it waited
    "cancelled",  # a request whose future was cancelled while it waited
    "dropped",  # a bounded mailbox let it go
    "late_reply",  # a reply to a request that had been given up
]


class Terminated(msgspec.Struct, frozen=True):
    """Sent once to each watcher of an actor that is dead.

    Attributes:
        ref: the actor's reference.
        reason: "stopped", "killed", or the exception that ended it.
    """

    ref: Any
    reason: Any


class DeadLetter(msgspec.Struct, frozen=True):
    """A message nobody handled, or a reply nobody waited for.

    Attributes:
        message: the message, or the reply of a `late_reply`.
        target: path of the actor it was for.
        kind: why it ended here.
    """

    message: Any
    target: str
    kind: DeadLetterKind


class ActorStarted(msgspec.Struct, frozen=True):
    """An actor is alive."""

    ref: Any
    path: str


class ActorRestarted(msgspec.Struct, frozen=True):
    """A supervisor restarted an actor; its reference, name and waiting messages stay."""

    ref: Any
    path: str
    reason: Any


class ActorStopped(msgspec.Struct, frozen=True):
    """An actor is dead, for the reason that its watchers hear."""

    ref: Any
    path: str
    reason: Any


class MailboxHigh(msgspec.Struct, frozen=True):
    """An unbounded mailbox passed its warning mark (sent once per actor)."""

    ref: Any
    path: str
    waiting: int


class ActorFailed(msgspec.Struct, frozen=True):
    """An actor has failed; published before what its supervisor does about it.

    Attributes:
        ref, path: which one.
        reason: the exception.
        message: what it was handling, or None if it was in a hook.
        recent: the messages before that one, oldest first, as far as they were recorded.
        waiting: how many messages wait in its mailbox.
        restarts: how often it was restarted before.
    """

    ref: Any
    path: str
    reason: Any
    message: Any
    recent: tuple[Any, ...]
    waiting: int
    restarts: int


class SlowHandler(msgspec.Struct, frozen=True):
    """A handler or hook runs or waits for longer than the watchdog of its system allows.

    Attributes:
        ref, path: which actor's.
        message: what it handles, or None in a hook.
        seconds: for how long by now.
        stack: where it stands, as in a traceback.
        waits_for: path of the actor whose reply or mailbox it waits for, or None.
        hook: the name of the hook it is in, such as "on_start"; its message is None then.
    """

    ref: Any
    path: str
    message: Any
    seconds: float
    stack: str
    waits_for: str | None
    hook: str | None = None


class SystemFailed(msgspec.Struct, frozen=True):
    """Top-level actors needed too many restarts: the system shuts down."""

    system: str
    reason: Any


EVENTS: Final[frozenset[type]] = frozenset(
    {
        ActorFailed,
        ActorRestarted,
        ActorStarted,
        ActorStopped,
        DeadLetter,
        MailboxHigh,
        SlowHandler,
        SystemFailed,
    }
)
"""The types of what systems publish."""


class SystemStats(msgspec.Struct, frozen=True):
    """Counters of one actor system.

    `sent == handled + dead + waiting` holds for every reading; `waiting` includes messages whose
    handler is still running. `dead` counts messages, not late replies.

    Attributes:
        sent: messages accepted by `tell`, `ask` and `request`.
        handled: messages whose handler has returned, or whose failure was answered.
        dead: messages that became dead letters or were answered with an error unhandled.
        waiting: the rest.
        late_replies: replies that came after their request was given up.
        actors: living actors, services and guardians included.
        threads: threads the system runs at the moment.
    """

    sent: int
    handled: int
    dead: int
    waiting: int
    late_replies: int
    actors: int
    threads: int


SHOWN_LEVELS = 32
"""How deep the `repr` of a tree goes."""


class TreeNode(msgspec.Struct, frozen=True):
    """One actor in `system.tree()`.

    Attributes:
        path: its place in the tree.
        kind: name of its class.
        state: where in its life it is.
        waiting: messages in its mailbox.
        restarts: how often it was restarted.
        children: its children, in the order they started.
        message: the message being handled, shortened, or None.
        age: for how many seconds it has been at that message or in that hook, counted from when the
            runtime first looked; None if at nothing.
        hook: the name of the hook it is in, such as "on_start", or None.
    """

    path: str
    kind: str
    state: str
    waiting: int
    restarts: int
    children: tuple[TreeNode, ...] = ()
    message: str | None = None
    age: float | None = None
    hook: str | None = None

    def __repr__(self) -> str:
        return self._shown(SHOWN_LEVELS)

    def _shown(self, levels: int) -> str:
        """Return the fields, those of the children as well; dots where it goes too deep."""
        children = "..." if self.children else ""
        if levels:
            shown = [child._shown(levels - 1) for child in self.children]
            children = ", ".join(shown) + "," * (len(shown) == 1)
        return (
            f"TreeNode(path={self.path!r}, kind={self.kind!r}, state={self.state!r}, "
            f"waiting={self.waiting}, restarts={self.restarts}, children=({children}), "
            f"message={self.message!r}, age={self.age!r}, hook={self.hook!r})"
        )


class Health(msgspec.Struct, frozen=True):
    """What a probe wants to know.

    Attributes:
        live: whether the system runs; if not, only a new one (or a new process) helps.
        ready: whether it takes new work.
        why: why it does not; empty if it does.
    """

    live: bool
    ready: bool
    why: str


class ShutdownReport(msgspec.Struct, frozen=True):
    """How a shutdown went.

    Attributes:
        stopped: how many actors ended in time.
        abandoned: paths of actors that did not, and were left behind.
        seconds: how long it took.
        stacks: where the handlers of the abandoned stood, one for each, as in a traceback.
    """

    stopped: int
    abandoned: tuple[str, ...]
    seconds: float
    stacks: tuple[str, ...] = ()


LONGEST = 80
"""Characters of a message that a description shows."""


def shortened(message: Any) -> str:
    """Return what a message is in at most a line."""
    try:
        text = repr(message)
    except Exception as error:  # noqa: BLE001 - whoever looks is not to blame
        text = f"<{type(message).__name__}, whose repr raised {type(error).__name__}>"
    text = " ".join(text[: 4 * LONGEST].split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
