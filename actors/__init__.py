"""callboard's actor runtime: actors, systems, supervision, and the services teams need.

A module imports strictly lower layers, siblings do not import each other, and nothing in here
imports this facade (a test holds the table against the real imports):

```
layer 0  _errors, _clock, _messages          error tree, time, the Structs all share
layer 0  _executing, _ids                    whose code is executing; ids of runs and spans
layer 0  _lazy                               names that are imported when first used
layer 0  _awaiting                           what a task cannot go on without
layer 1  _lifecycle, _supervision            pure: state machine, restart decisions
layer 1  _context, _waiting                  what travels with messages; who waits for whom
layer 1  _options                            whether an option can work
layer 1  _threads                            waiting and threads that finalizers may be in
layer 2  _deadline, _answer, _timers         mechanism: deadlines, replies, scheduled calls
layer 3  _mailbox, _members                  the two lanes; the supervised children of one actor
layer 3  _future                             replies, and what is derived from several
layer 4  _ref, _children                     an actor from outside; what becomes of children
layer 5  _actor, _groups                     the hooks a user writes; named groups of actors
layer 5  _events, _watchdog                  the event stream; slow handlers
layer 5  _driver, _worker                    a task that takes turns; a thread that does
layer 6  _reports                            what cells report to their system
layer 6  _cell/, _dispatch/                  the engine: one actor's turns, and who runs them
layer 6  _tree                               the tree as data: roots, walks, look-ups
layer 7  _shutdown, _fork                    a system's parts and their end; forked processes
layer 8  _system                             spawn, dispatch, statistics
layer 9  _default                            the default system, and whose code is executing
layer 10 services/                           budget, decisions, bus, tracing, the scope of a run
layer 11 agents/                             agents, models, prices
layer 12 testing/                            simulation, probes, doubles: for tests only
```
"""

from typing import TYPE_CHECKING

from loguru import logger

from actors._actor import Actor, KeyedTimers
from actors._clock import Clock, SystemClock
from actors._context import RunContext, carry, current
from actors._deadline import Deadline
from actors._default import current_actor, default_system
from actors._errors import (
    ActorDeadError,
    ActorKilled,
    AlreadySet,
    BudgetExceeded,
    CallboardError,
    ContextWindowExceeded,
    DeadlineExceeded,
    FinalizerWaits,
    ForeignRef,
    ForkedSystem,
    InvalidOption,
    InvalidOutput,
    LedgerError,
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
    TooManyWaiting,
    TraceError,
    UnexpectedCoroutine,
    UnknownModel,
    UnusableReply,
    WouldBlockLoop,
    WouldDeadlock,
)
from actors._events import Events, Subscription
from actors._future import Future, get_all
from actors._lazy import loader as _loader
from actors._mailbox import Bounded, Unbounded
from actors._messages import (
    ActorFailed,
    ActorRestarted,
    ActorStarted,
    ActorStopped,
    DeadLetter,
    Health,
    MailboxHigh,
    ShutdownReport,
    SlowHandler,
    SystemFailed,
    SystemStats,
    Terminated,
    TreeNode,
)
from actors._ref import ActorRef
from actors._supervision import Backoff, ChildSpec, Supervision
from actors._system import ActorSystem
from actors._waiting import blocking

# As libraries do: silent until a program says `logger.enable("actors")`.
logger.disable("actors")

if TYPE_CHECKING:
    from actors.agents._seat import AgentActor, Job
    from actors.agents._split import split_text
    from actors.agents._worker import to_text
    from actors.agents.agent import Agent, as_agent
    from actors.agents.models import (
        Message,
        Model,
        Reply,
        Usage,
        estimate_tokens,
        prompt_tokens,
        resolve_model,
    )
    from actors.agents.pricing import Price
    from actors.services.budget import Budget, BudgetPool, BudgetSnapshot, HolderSnapshot, Lease
    from actors.services.bus import Event, EventBus
    from actors.services.decisions import Decision, DecisionLog, LogStats, Verification
    from actors.services.run import RunScope, run
    from actors.services.tracing import Span, Summary, Tracer

__all__ = [
    "Actor",
    "ActorDeadError",
    "ActorFailed",
    "ActorKilled",
    "ActorRef",
    "ActorRestarted",
    "ActorStarted",
    "ActorStopped",
    "ActorSystem",
    "Agent",
    "AgentActor",
    "AlreadySet",
    "Backoff",
    "Bounded",
    "Budget",
    "BudgetExceeded",
    "BudgetPool",
    "BudgetSnapshot",
    "CallboardError",
    "ChildSpec",
    "Clock",
    "ContextWindowExceeded",
    "DeadLetter",
    "Deadline",
    "DeadlineExceeded",
    "Decision",
    "DecisionLog",
    "Event",
    "EventBus",
    "Events",
    "FinalizerWaits",
    "ForeignRef",
    "ForkedSystem",
    "Future",
    "Health",
    "HolderSnapshot",
    "InvalidOption",
    "InvalidOutput",
    "Job",
    "KeyedTimers",
    "Lease",
    "LedgerError",
    "LogClosed",
    "LogCorrupt",
    "LogError",
    "LogStats",
    "MailboxFull",
    "MailboxHigh",
    "Message",
    "MissingExtra",
    "Model",
    "ModelError",
    "ModelRateLimited",
    "ModelRejected",
    "ModelTimeout",
    "ModelUnavailable",
    "NameTaken",
    "NoHandler",
    "NoReplyExpected",
    "Price",
    "Reply",
    "RequestCancelled",
    "RestartLimitExceeded",
    "RunContext",
    "RunScope",
    "ShutdownReport",
    "SlowHandler",
    "Span",
    "StashOverflow",
    "Subscription",
    "Summary",
    "Supervision",
    "SystemClock",
    "SystemFailed",
    "SystemStats",
    "SystemStopped",
    "Terminated",
    "Timeout",
    "TooManyWaiting",
    "TraceError",
    "Tracer",
    "TreeNode",
    "Unbounded",
    "UnexpectedCoroutine",
    "UnknownModel",
    "UnusableReply",
    "Usage",
    "Verification",
    "WouldBlockLoop",
    "WouldDeadlock",
    "as_agent",
    "blocking",
    "carry",
    "current",
    "current_actor",
    "default_system",
    "estimate_tokens",
    "get_all",
    "prompt_tokens",
    "resolve_model",
    "run",
    "split_text",
    "to_text",
]

# Shipped actors are imported when they are first used: many programs need a few of them, and
# `import actors` stays quick.
_LAZY = {
    "to_text": "actors.agents._worker",
    "prompt_tokens": "actors.agents.models",
    "estimate_tokens": "actors.agents.models",
    "split_text": "actors.agents._split",
    "Summary": "actors.services.tracing",
    "HolderSnapshot": "actors.services.budget",
    "Verification": "actors.services.decisions",
    "Decision": "actors.services.decisions",
    "LogStats": "actors.services.decisions",
    "Agent": "actors.agents.agent",
    "AgentActor": "actors.agents._seat",
    "Job": "actors.agents._seat",
    "as_agent": "actors.agents.agent",
    "Message": "actors.agents.models",
    "Model": "actors.agents.models",
    "Reply": "actors.agents.models",
    "Usage": "actors.agents.models",
    "resolve_model": "actors.agents.models",
    "Price": "actors.agents.pricing",
    "BudgetPool": "actors.services.budget",
    "BudgetSnapshot": "actors.services.budget",
    "Lease": "actors.services.budget",
    "Event": "actors.services.bus",
    "EventBus": "actors.services.bus",
    "DecisionLog": "actors.services.decisions",
    "Budget": "actors.services.budget",
    "RunScope": "actors.services.run",
    "run": "actors.services.run",
    "Span": "actors.services.tracing",
    "Tracer": "actors.services.tracing",
}


__getattr__ = _loader(__name__, _LAZY)


def __dir__() -> list[str]:
    return __all__
