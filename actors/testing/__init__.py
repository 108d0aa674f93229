"""The test kit: simulation, probes, doubles of models, snapshots of runs.

It stands above everything else in `actors`, and is a pytest plugin (`actors.testing.plugin`).

```
_errors, _ci                    what tests fail with; whether this is CI
_simulation and what it imports whole systems in one thread, on virtual time, in a seed's order
_schedules                      who is next: by seed, as chosen, as enumerated
_explore, _outcome, _shrink     pure: many simulations of one test, and the shortest that fails
_chart, _report                 a history as a sequence chart; what a failure prints
_marker                         the marker `simulate` and the fixture `sim`
_waiting                        how a test waits
_probe                          TestProbe
_options                        whether an option can work
_calls                          what the doubles of models share
_scripted, _faulty              models by script, models with faults
_cassette, _recorded            the file of recordings; models that replay them
_guard                          real models kept out
_captured, _capture             a run as its files tell it; the scope that has them written
_form, _canonical, _difference  pure: its canonical form, how it is made and what differs
_snapshot                       stored runs (extra `testing`)
plugin                          fixtures, markers and options of pytest
```
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actors.testing._calls import ModelCall
    from actors.testing._canonical import canonical
    from actors.testing._capture import RunCapture, capture_run
    from actors.testing._captured import CapturedRun, SpanRecord, read_run
    from actors.testing._difference import Change, Difference, compare
    from actors.testing._errors import (
        CassetteError,
        EndlessSimulation,
        ExpectationFailed,
        InjectedCrash,
        InvariantViolated,
        NoRecording,
        NotDeterministic,
        RealModelBlocked,
        RealWorld,
        RunUnreadable,
        SimulationDeadlock,
        SimulationError,
        UnexpectedCall,
        UnusedReplies,
    )
    from actors.testing._faulty import Fault, FaultyModel
    from actors.testing._form import CanonicalRun, Ruling, Spend, Step
    from actors.testing._guard import BlockedCalls, block_real_models
    from actors.testing._probe import TestProbe
    from actors.testing._recorded import RecordedModel
    from actors.testing._scripted import ScriptedModel, ScriptedReply
    from actors.testing._simulation import Simulation
    from actors.testing._snapshot import RunSnapshot

__all__ = [
    "BlockedCalls",
    "CanonicalRun",
    "CapturedRun",
    "CassetteError",
    "Change",
    "Difference",
    "EndlessSimulation",
    "ExpectationFailed",
    "Fault",
    "FaultyModel",
    "InjectedCrash",
    "InvariantViolated",
    "ModelCall",
    "NoRecording",
    "NotDeterministic",
    "RealModelBlocked",
    "RealWorld",
    "RecordedModel",
    "Ruling",
    "RunCapture",
    "RunSnapshot",
    "RunUnreadable",
    "ScriptedModel",
    "ScriptedReply",
    "Simulation",
    "SimulationDeadlock",
    "SimulationError",
    "SpanRecord",
    "Spend",
    "Step",
    "TestProbe",
    "UnexpectedCall",
    "UnusedReplies",
    "block_real_models",
    "canonical",
    "capture_run",
    "compare",
    "read_run",
]

_LAZY = {
    "BlockedCalls": "_guard",
    "CanonicalRun": "_form",
    "CapturedRun": "_captured",
    "CassetteError": "_errors",
    "Change": "_difference",
    "Difference": "_difference",
    "EndlessSimulation": "_errors",
    "ExpectationFailed": "_errors",
    "Fault": "_faulty",
    "FaultyModel": "_faulty",
    "InjectedCrash": "_errors",
    "InvariantViolated": "_errors",
    "ModelCall": "_calls",
    "NoRecording": "_errors",
    "NotDeterministic": "_errors",
    "RealModelBlocked": "_errors",
    "RealWorld": "_errors",
    "RecordedModel": "_recorded",
    "Ruling": "_form",
    "RunCapture": "_capture",
    "RunSnapshot": "_snapshot",
    "RunUnreadable": "_errors",
    "ScriptedModel": "_scripted",
    "ScriptedReply": "_scripted",
    "Simulation": "_simulation",
    "SimulationDeadlock": "_errors",
    "SimulationError": "_errors",
    "SpanRecord": "_captured",
    "Spend": "_form",
    "Step": "_form",
    "TestProbe": "_probe",
    "UnexpectedCall": "_errors",
    "UnusedReplies": "_errors",
    "block_real_models": "_guard",
    "canonical": "_canonical",
    "capture_run": "_capture",
    "compare": "_difference",
    "read_run": "_captured",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'actors.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"actors.testing.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
