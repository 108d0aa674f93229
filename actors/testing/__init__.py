"""The test kit: actors to look with, doubles of models, snapshots of runs.

It stands above everything else in `actors`, and is a pytest plugin (`actors.testing.plugin`).

```
_failures, _ci                  what tests fail with; whether this is CI
_waiter                         how a test waits: the seam for simulated time
_probe                          TestProbe
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
    from actors.testing._failures import (
        CassetteError,
        ExpectationFailed,
        NoRecording,
        RealModelBlocked,
        RunUnreadable,
        UnexpectedCall,
        UnusedReplies,
    )
    from actors.testing._faulty import Fault, FaultyModel
    from actors.testing._form import CanonicalRun, Ruling, Spend, Step
    from actors.testing._guard import BlockedCalls, block_real_models
    from actors.testing._probe import TestProbe
    from actors.testing._recorded import RecordedModel
    from actors.testing._scripted import ScriptedModel, ScriptedReply
    from actors.testing._snapshot import RunSnapshot
    from actors.testing._waiter import Waiter

__all__ = [
    "BlockedCalls",
    "CanonicalRun",
    "CapturedRun",
    "CassetteError",
    "Change",
    "Difference",
    "ExpectationFailed",
    "Fault",
    "FaultyModel",
    "ModelCall",
    "NoRecording",
    "RealModelBlocked",
    "RecordedModel",
    "Ruling",
    "RunCapture",
    "RunSnapshot",
    "RunUnreadable",
    "ScriptedModel",
    "ScriptedReply",
    "SpanRecord",
    "Spend",
    "Step",
    "TestProbe",
    "UnexpectedCall",
    "UnusedReplies",
    "Waiter",
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
    "CassetteError": "_failures",
    "Change": "_difference",
    "Difference": "_difference",
    "ExpectationFailed": "_failures",
    "Fault": "_faulty",
    "FaultyModel": "_faulty",
    "ModelCall": "_calls",
    "NoRecording": "_failures",
    "RealModelBlocked": "_failures",
    "RecordedModel": "_recorded",
    "Ruling": "_form",
    "RunCapture": "_capture",
    "RunSnapshot": "_snapshot",
    "RunUnreadable": "_failures",
    "ScriptedModel": "_scripted",
    "ScriptedReply": "_scripted",
    "SpanRecord": "_captured",
    "Spend": "_form",
    "Step": "_form",
    "TestProbe": "_probe",
    "UnexpectedCall": "_failures",
    "UnusedReplies": "_failures",
    "Waiter": "_waiter",
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
