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

from typing import TYPE_CHECKING

from actors._lazy import loader as _loader

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
    "BlockedCalls": "actors.testing._guard",
    "CanonicalRun": "actors.testing._form",
    "CapturedRun": "actors.testing._captured",
    "CassetteError": "actors.testing._errors",
    "Change": "actors.testing._difference",
    "Difference": "actors.testing._difference",
    "EndlessSimulation": "actors.testing._errors",
    "ExpectationFailed": "actors.testing._errors",
    "Fault": "actors.testing._faulty",
    "FaultyModel": "actors.testing._faulty",
    "InjectedCrash": "actors.testing._errors",
    "InvariantViolated": "actors.testing._errors",
    "ModelCall": "actors.testing._calls",
    "NoRecording": "actors.testing._errors",
    "NotDeterministic": "actors.testing._errors",
    "RealModelBlocked": "actors.testing._errors",
    "RealWorld": "actors.testing._errors",
    "RecordedModel": "actors.testing._recorded",
    "Ruling": "actors.testing._form",
    "RunCapture": "actors.testing._capture",
    "RunSnapshot": "actors.testing._snapshot",
    "RunUnreadable": "actors.testing._errors",
    "ScriptedModel": "actors.testing._scripted",
    "ScriptedReply": "actors.testing._scripted",
    "Simulation": "actors.testing._simulation",
    "SimulationDeadlock": "actors.testing._errors",
    "SimulationError": "actors.testing._errors",
    "SpanRecord": "actors.testing._captured",
    "Spend": "actors.testing._form",
    "Step": "actors.testing._form",
    "TestProbe": "actors.testing._probe",
    "UnexpectedCall": "actors.testing._errors",
    "UnusedReplies": "actors.testing._errors",
    "block_real_models": "actors.testing._guard",
    "canonical": "actors.testing._canonical",
    "capture_run": "actors.testing._capture",
    "compare": "actors.testing._difference",
    "read_run": "actors.testing._captured",
}


__getattr__ = _loader(__name__, _LAZY)


def __dir__() -> list[str]:
    return __all__
