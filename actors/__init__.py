"""callboard's actor runtime: actors, systems, supervision, and the services teams need.

A module imports strictly lower layers, siblings do not import each other, and nothing in here
imports this facade (a test holds the table against the real imports):

```
layer 0  _errors, _clock, _messages          error tree, time, the Structs all share
layer 1  _lifecycle, _supervision, _context  pure: state machine, restart decisions, run context
layer 2  _deadline, _future, _timers         mechanism: deadlines, replies, scheduled calls
layer 3  _mailbox, _children                 the two lanes; the supervised children of one actor
layer 4  _ref                                what one may do with an actor from outside
layer 5  _actor, _events                     the hooks a user writes; the event stream
layer 6  _cell, _dispatch/                   the engine: one actor's turns, and who runs them
layer 7  _system                             the root: spawn, names, statistics, shutdown
layer 8  services/, agents/                  shipped actors
layer 9  testing/                            edges
```
"""

from actors._actor import Actor, KeyedTimers
from actors._clock import Clock, SystemClock
from actors._context import RunContext, current
from actors._deadline import Deadline
from actors._errors import (
    ActorDeadError,
    ActorKilled,
    AlreadySet,
    BudgetExceeded,
    CallboardError,
    ContextWindowExceeded,
    DeadlineExceeded,
    ForeignRef,
    ForkedSystem,
    InvalidOption,
    InvalidOutput,
    LogClosed,
    LogCorrupt,
    LogError,
    MailboxFull,
    MissingExtra,
    ModelError,
    ModelRateLimited,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
    NameTaken,
    NoHandler,
    NoReplyExpected,
    RequestCancelled,
    RestartLimitExceeded,
    StashOverflow,
    SystemStopped,
    Timeout,
    UnexpectedCoroutine,
    UnknownModel,
    WouldBlockLoop,
)
from actors._events import Events, Subscription
from actors._future import Future, blocking, get_all
from actors._mailbox import Bounded, Unbounded
from actors._messages import (
    ActorRestarted,
    ActorStarted,
    ActorStopped,
    DeadLetter,
    Health,
    MailboxHigh,
    ShutdownReport,
    SystemFailed,
    SystemStats,
    Terminated,
    TreeNode,
)
from actors._ref import ActorRef
from actors._supervision import Backoff, ChildSpec, Supervision
from actors._system import ActorSystem, current_actor, default_system

__all__ = [
    "Actor",
    "ActorDeadError",
    "ActorKilled",
    "ActorRef",
    "ActorRestarted",
    "ActorStarted",
    "ActorStopped",
    "ActorSystem",
    "AlreadySet",
    "Backoff",
    "Bounded",
    "BudgetExceeded",
    "CallboardError",
    "ChildSpec",
    "Clock",
    "ContextWindowExceeded",
    "DeadLetter",
    "Deadline",
    "DeadlineExceeded",
    "Events",
    "ForeignRef",
    "ForkedSystem",
    "Future",
    "Health",
    "InvalidOption",
    "InvalidOutput",
    "KeyedTimers",
    "LogClosed",
    "LogCorrupt",
    "LogError",
    "MailboxFull",
    "MailboxHigh",
    "MissingExtra",
    "ModelError",
    "ModelRateLimited",
    "ModelRejected",
    "ModelTimeout",
    "ModelUnavailable",
    "NameTaken",
    "NoHandler",
    "NoReplyExpected",
    "RequestCancelled",
    "RestartLimitExceeded",
    "RunContext",
    "ShutdownReport",
    "StashOverflow",
    "Subscription",
    "Supervision",
    "SystemClock",
    "SystemFailed",
    "SystemStats",
    "SystemStopped",
    "Terminated",
    "Timeout",
    "TreeNode",
    "Unbounded",
    "UnexpectedCoroutine",
    "UnknownModel",
    "WouldBlockLoop",
    "blocking",
    "current",
    "current_actor",
    "default_system",
    "get_all",
]
