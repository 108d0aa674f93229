"""Coordination patterns for teams of agents: router, pipeline, broadcast, supervisor, recovery.

Each pattern is something an agent slot accepts, so they nest to any depth; `run` gives a future of
a result, which says by `status` and `reason` how it went and keeps what was paid for.

A module imports strictly lower layers, siblings do not import each other, nothing in here imports
this facade, and of `actors` only its public facade is used:

```
layer 0  _results, _drawing                   what runs return; Mermaid charts
layer 1  _failures                            kinds of failure
layer 2  _choice, _stages, _completion,       pure: what to do next
         _revision, _aggregate, _breaker
layer 3  _work                                the inside of a run: ask, call, wait, record
layer 4  _run, _gather, _classifiers          a run's actor; the gather actor; classifiers
layer 5  router, pipeline, broadcast,         the patterns
         supervisor, recovery
```
"""

from loguru import logger

from patterns._results import (
    Attempt,
    BroadcastResult,
    Draft,
    FailedReply,
    GivenReply,
    PipelineResult,
    RecoveryResult,
    RouterResult,
    RunFailed,
    RunResult,
    StageResult,
    SupervisorResult,
    Verdict,
)
from patterns._run import Pattern
from patterns.broadcast import All, Broadcast, First, Quorum, When, join, vote
from patterns.pipeline import Fail, Pipeline, Skip, Stage, State, Use
from patterns.recovery import CircuitBreaker, Degrade, Fallback, Retry
from patterns.router import Choice, EmbeddingClassifier, Label, ModelClassifier, Router
from patterns.supervisor import VERDICT_SCHEMA, Supervisor

__all__ = [
    "VERDICT_SCHEMA",
    "All",
    "Attempt",
    "Broadcast",
    "BroadcastResult",
    "Choice",
    "CircuitBreaker",
    "Degrade",
    "Draft",
    "EmbeddingClassifier",
    "Fail",
    "FailedReply",
    "Fallback",
    "First",
    "GivenReply",
    "Label",
    "ModelClassifier",
    "Pattern",
    "Pipeline",
    "PipelineResult",
    "Quorum",
    "RecoveryResult",
    "Retry",
    "Router",
    "RouterResult",
    "RunFailed",
    "RunResult",
    "Skip",
    "Stage",
    "StageResult",
    "State",
    "Supervisor",
    "SupervisorResult",
    "Use",
    "Verdict",
    "When",
    "join",
    "vote",
]

# As libraries do: `logger.enable("patterns")` shows what is logged here.
logger.disable("patterns")
