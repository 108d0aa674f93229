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

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

# Imported when first used, as in `actors`: the command answers Ctrl-C from its first moment on.
_LAZY = {
    "All": "patterns.broadcast",
    "Attempt": "patterns._results",
    "Broadcast": "patterns.broadcast",
    "BroadcastResult": "patterns._results",
    "Choice": "patterns.router",
    "CircuitBreaker": "patterns.recovery",
    "Degrade": "patterns.recovery",
    "Draft": "patterns._results",
    "EmbeddingClassifier": "patterns.router",
    "Fail": "patterns.pipeline",
    "FailedReply": "patterns._results",
    "Fallback": "patterns.recovery",
    "First": "patterns.broadcast",
    "GivenReply": "patterns._results",
    "Label": "patterns.router",
    "ModelClassifier": "patterns.router",
    "Pattern": "patterns._run",
    "Pipeline": "patterns.pipeline",
    "PipelineResult": "patterns._results",
    "Quorum": "patterns.broadcast",
    "RecoveryResult": "patterns._results",
    "Retry": "patterns.recovery",
    "Router": "patterns.router",
    "RouterResult": "patterns._results",
    "RunFailed": "patterns._results",
    "RunResult": "patterns._results",
    "Skip": "patterns.pipeline",
    "Stage": "patterns.pipeline",
    "StageResult": "patterns._results",
    "State": "patterns.pipeline",
    "Supervisor": "patterns.supervisor",
    "SupervisorResult": "patterns._results",
    "Use": "patterns.pipeline",
    "VERDICT_SCHEMA": "patterns.supervisor",
    "Verdict": "patterns._results",
    "When": "patterns.broadcast",
    "join": "patterns.broadcast",
    "vote": "patterns.broadcast",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'patterns' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
