"""What tests fail with, in one tree.

```
CallboardError
├── ExpectationFailed (AssertionError)   a probe did not get what was expected
├── UnexpectedCall (AssertionError)      a scripted model was asked what its script does not have
├── UnusedReplies (AssertionError)       a scripted model was not asked all that its script has
├── NoRecording (LookupError)            a cassette does not have this call
├── CassetteError                        the file of a cassette cannot be read
├── RealModelBlocked (AssertionError)    a real model was called where that is not allowed
├── InjectedCrash                        an actor failed because its test wanted it to
├── RunUnreadable (ValueError)           the files of a run cannot be read
└── SimulationError (AssertionError)     something happened in a simulation that must not
    ├── SimulationDeadlock               nothing can happen any more, and somebody waits
    ├── EndlessSimulation                something goes on to happen for ever
    ├── NotDeterministic                 the same seed gave another history
    ├── InvariantViolated                what has to hold at all times did not
    └── RealWorld                        code wanted to sleep, start a thread or do I/O in earnest
```

None of them is a `ModelError`, so that no retry, fallback or circuit breaker takes a mistake of
the test for a failure of a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from actors._errors import CallboardError

__all__ = [
    "CassetteError",
    "EndlessSimulation",
    "ExpectationFailed",
    "InjectedCrash",
    "InvariantViolated",
    "NoRecording",
    "NotDeterministic",
    "RealModelBlocked",
    "RealWorld",
    "RunUnreadable",
    "SimulationDeadlock",
    "SimulationError",
    "UnexpectedCall",
    "UnusedReplies",
    "indented",
]

_WIDTH = 400


def indented(texts: Sequence[str], none: str = "nothing") -> str:
    """Return texts one below the other, numbered, each cut at 400 characters."""
    if not texts:
        return f"  {none}"
    return "\n".join(f"  {number}. {_cut(text)}" for number, text in enumerate(texts, 1))


def _cut(text: str) -> str:
    text = text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
    return text.replace("\n", "\n     ")


def _shown(messages: Sequence[object]) -> str:
    return indented([_repr(message) for message in messages])


def _repr(message: object) -> str:
    try:
        return repr(message)
    except Exception as error:  # noqa: BLE001 - who looks on must not hide the failure
        return f"<{type(message).__name__}, whose repr raised {type(error).__name__}>"


class ExpectationFailed(CallboardError, AssertionError):
    """A probe did not get what was expected.

    Attributes:
        probe: path of the probe.
        expected: what was, in words.
        received: the messages that were taken while looking for it, in order.
        waiting: the messages that are still in the probe's queue, in order.
        before: the last messages that earlier expectations took.
    """

    def __init__(
        self,
        probe: str,
        expected: str,
        received: Sequence[object],
        waiting: Sequence[object],
        before: Sequence[object] = (),
    ) -> None:
        self.probe = probe
        self.expected = expected
        self.received = tuple(received)
        self.waiting = tuple(waiting)
        self.before = tuple(before)
        parts = [
            f"{probe} expected {expected}",
            f"received:\n{_shown(received)}",
            f"still in the queue:\n{_shown(waiting)}",
        ]
        if before:
            parts.append(f"taken before:\n{_shown(before)}")
        super().__init__("\n".join(parts))


class UnexpectedCall(CallboardError, AssertionError):
    """A scripted model was called in a way that its script does not have.

    Attributes:
        model: the model's name.
        agent: the name of the agent that called, else the path of the actor; None outside of them.
        prompt: the last message of the call.
    """

    def __init__(
        self, model: str, agent: str | None, prompt: str, left: Sequence[str], used: int
    ) -> None:
        self.model = model
        self.agent = agent
        self.prompt = prompt
        super().__init__(
            f"{model}: call {used + 1}, by {agent or 'no actor'}, is not in the script; it says\n"
            f"  {_cut(prompt)}\n"
            f"left in the script:\n{indented(left)}"
        )


class UnusedReplies(CallboardError, AssertionError):
    """A scripted model was not called as often as its script says.

    Attributes:
        model: the model's name.
        left: descriptions of the entries that were not used.
    """

    def __init__(self, model: str, left: Sequence[str], used: int) -> None:
        self.model = model
        self.left = tuple(left)
        super().__init__(
            f"{model}: {used} calls were made, and these replies never asked for:\n{indented(left)}"
        )


class NoRecording(CallboardError, LookupError):
    """A cassette has no recording of this call.

    Attributes:
        path: the cassette.
        times: how often this very request is recorded; it was asked once more.
        difference: how the nearest recorded request differs, as a diff; empty without any.
    """

    def __init__(self, path: Path, model: str, times: int, difference: str) -> None:
        self.path = path
        self.times = times
        self.difference = difference
        if times:
            what = f"this request to {model} {times} time(s), and it was made once more"
        else:
            what = f"no such request to {model}"
        near = f"\nthe nearest one differs:\n{difference}" if difference else ""
        super().__init__(
            f"{path} has {what}. To record it, run the test on your machine (not in CI) with a "
            "real model and CALLBOARD_RECORD=auto, which adds what is missing, or "
            f"CALLBOARD_RECORD=record, which begins anew; or give RecordedModel that mode.{near}"
        )


class CassetteError(CallboardError):
    """The file of a cassette is damaged, or from another version."""


class RealModelBlocked(CallboardError, AssertionError):
    """A real model was called where tests do not allow it.

    Attributes:
        model: the model's name.
        agent: the name of the agent that called it, else the path of the actor; None outside of
            them.
    """

    def __init__(self, model: str, agent: str | None) -> None:
        self.model = model
        self.agent = agent
        super().__init__(
            f"{agent or 'code outside of actors'} called the real model {model}, which is blocked "
            "here: give the agent a ScriptedModel or a RecordedModel, or allow real calls with "
            "@pytest.mark.real_models"
        )


class InjectedCrash(CallboardError):
    """An actor failed because its test wanted it to.

    Unlike other exceptions it fails the actor in a request, too, as `crash_on` would have it.
    """


class RunUnreadable(CallboardError, ValueError):
    """A run's decisions, trace or result cannot be read."""


class SimulationError(CallboardError, AssertionError):
    """Something happened in a simulation that must not: the test fails."""


class SimulationDeadlock(SimulationError):
    """Nothing can happen any more, and somebody waits; the text says who for whom."""


class EndlessSimulation(SimulationError):
    """Something goes on to happen, step by step, for ever; a deadlock is the opposite."""


class InvariantViolated(SimulationError):
    """What has to hold at all times did not, or what had to come about did not in time."""


class RealWorld(SimulationError):
    """Code in a simulation wanted to sleep, start a thread or do I/O in earnest."""


class NotDeterministic(SimulationError):
    """The same seed gave another history: a simulation of this code proves and replays nothing.

    Attributes:
        replay: the seed, as it is given to `--simulate-seed`.
        line: the first line of the history that differs; counts from 1.
        first: what that line was at first; "" if there was none.
        second: what it was the second time; likewise.
    """

    def __init__(self, replay: str, line: int, first: str, second: str) -> None:
        self.replay = replay
        self.line = line
        self.first = first
        self.second = second
        super().__init__(
            f"seed {replay} failed, and when it was run again it gave another history: the code "
            "under test depends on something besides the seed (state that is left by the run "
            "before, the real clock, `os.urandom`, `uuid4`, `id`, the order of a set, a real "
            f"thread). The first difference is line {line} of the history:\n"
            f"  at first {first or '(no such line)'}\n"
            f"  then     {second or '(no such line)'}"
        )
