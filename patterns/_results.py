"""What runs of patterns return: frozen Structs that keep what was finished, however a run ended.

A run that ends early or fails is no exception: it is a result whose `status` and `reason` say so,
with everything that was paid for in it. Exceptions are for runs that were cancelled, or whose
actor was stopped from outside.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, Self

import msgspec

from actors import CallboardError, InvalidOption

__all__ = [
    "Attempt",
    "BroadcastResult",
    "Draft",
    "FailedReply",
    "GivenReply",
    "PipelineResult",
    "RecoveryResult",
    "RouterResult",
    "RunFailed",
    "RunResult",
    "StageResult",
    "Status",
    "SupervisorResult",
    "Verdict",
    "output_of",
]

Status = Literal[
    "done",  # as asked
    "partial",  # a usable answer, but less than was asked for
    "halted",  # budget or deadline ended it before there was an answer
    "failed",  # an error or a rejection: no answer that should be used
]


def output_of(value: Any) -> Any:
    """Return what an agent gave, unwrapped: a result's output, a reply's data or its text."""
    if isinstance(value, RunResult):
        return value.output
    data = getattr(value, "data", None)
    if data is not None:
        return data
    text = getattr(value, "text", None)
    return text if isinstance(text, str) else value


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What every run of a pattern returns.

    Attributes:
        output: the answer; of a run that ended early, the last that was finished, or None.
        text: the output as text.
        status: "done", "partial" (usable, but less than asked), "halted" (budget or deadline came
            first) or "failed".
        reason: why it ended as it did, in one word of the pattern's.
        error: type and text of the error behind it, or None.
        cost_usd: what the replies cost in USD; None if one of them has no known price.
        tokens: input and output tokens of all replies.
        degraded: whether a lesser agent than the one wanted had a part in it.
        run_id: names the run in every record.
        unrecorded: how many decisions the log could not write down.
    """

    output: Any = None
    text: str = ""
    status: Status = "done"
    reason: str = ""
    error: str | None = None
    cost_usd: Decimal | None = None
    tokens: int = 0
    degraded: bool = False
    run_id: str = ""
    unrecorded: int = 0

    @property
    def usable(self) -> bool:
        """Whether there is an answer: the status is "done" or "partial"."""
        return self.status in {"done", "partial"}

    def require(self) -> Self:
        """Return this result if it is usable.

        Raises:
            RunFailed: it is not.
        """
        if not self.usable:
            raise RunFailed(self)
        return self


class RunFailed(CallboardError):
    """A run of a pattern gave no usable answer.

    Attributes:
        result: its result, with what was finished.
    """

    def __init__(self, result: RunResult) -> None:
        self.result = result
        detail = f": {result.error}" if result.error else ""
        super().__init__(f"the run {result.status} ({result.reason}){detail}")


class RouterResult(RunResult, frozen=True, kw_only=True):
    """What a `Router` returns.

    Attributes:
        route: the route taken, or "fallback".
        why: "confident", or why it went to the fallback: "classifier_error", "unknown_label",
            "low_confidence" or "thin_margin".
        target: what the classifier said, or None if it failed.
        confidence: how sure it was, 0 to 1; None if it failed.
        alternatives: the other labels it considered, with their confidence.
        reply: the whole reply of the agent behind the route.
    """

    route: str | None = None
    why: str = ""
    target: str | None = None
    confidence: float | None = None
    alternatives: tuple[tuple[str, float], ...] = ()
    reply: Any = None


class StageResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one stage of a `Pipeline`.

    Attributes:
        name: the stage.
        status: "done", "skipped" (`when` said no, or an error was skipped), "substituted" (`Use`)
            or "failed".
        output, text: what it gave.
        reason: why it was skipped, substituted or failed.
        error: type and text of the error behind it, or None.
        cost_usd, tokens: of this stage alone, in USD (None: unknown) and tokens.
        degraded: whether a lesser agent had a part in it.
        seconds: how long it took.
        reply: the whole reply of its agent.
    """

    name: str
    status: Literal["done", "skipped", "substituted", "failed"] = "done"
    output: Any = None
    text: str = ""
    reason: str = ""
    error: str | None = None
    cost_usd: Decimal | None = None
    tokens: int = 0
    degraded: bool = False
    seconds: float = 0.0
    reply: Any = None


class PipelineResult(RunResult, frozen=True, kw_only=True):
    """What a `Pipeline` returns.

    Attributes:
        stages: the stages that were begun, in order; a halted one is not among them.
        stopped_at: the stage that failed or could not be finished; None if all went through.
    """

    stages: tuple[StageResult, ...] = ()
    stopped_at: str | None = None

    def stage(self, name: str) -> StageResult | None:
        """Return the result of a stage, or None if it was not reached."""
        return next((stage for stage in self.stages if stage.name == name), None)


class GivenReply(msgspec.Struct, frozen=True, kw_only=True):
    """A valid reply of one recipient of a `Broadcast`.

    Attributes:
        recipient: its name.
        position: its place among the recipients, from 0.
        text: the reply as text.
        reply: the whole reply.
        late: whether it came after the broadcast had closed.
    """

    recipient: str
    position: int
    text: str
    reply: Any
    late: bool = False

    @property
    def output(self) -> Any:
        """The reply unwrapped: a nested run's output, a reply's data, or its text."""
        return output_of(self.reply)

    @property
    def cost_usd(self) -> Decimal | None:
        """What it cost in USD; None if that is unknown."""
        cost: Decimal | None = self.reply.cost_usd
        return cost

    @property
    def tokens(self) -> int:
        """Input and output tokens."""
        return int(self.reply.tokens)


class FailedReply(msgspec.Struct, frozen=True, kw_only=True):
    """A recipient of a `Broadcast` that gave no valid reply.

    Attributes:
        recipient: its name.
        position: its place among the recipients, from 0.
        kind: the class of the failure, such as "transient"; "cancelled" for a loser.
        error: type and text of the error.
        reply: what was paid for all the same, or None.
    """

    recipient: str
    position: int
    kind: str
    error: str
    reply: Any = None


class BroadcastResult(RunResult, frozen=True, kw_only=True):
    """What a `Broadcast` returns.

    Attributes:
        replies: the valid replies, in recipient order.
        failures: the recipients that failed, in recipient order.
        late: replies that came after it had closed and before this result was made.
        missing: the recipients that had not answered when it closed.
        complete: whether what `until` asks for was reached.
        closed: why collecting ended: "complete", or else "failures", "unreachable", "exhausted",
            "timeout", "deadline", "condition_failed".
    """

    replies: tuple[GivenReply, ...] = ()
    failures: tuple[FailedReply, ...] = ()
    late: tuple[GivenReply, ...] = ()
    missing: tuple[str, ...] = ()
    complete: bool = False
    closed: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """A reviewer's answer about a draft.

    Attributes:
        decision: "accept", "revise" or "reject".
        score: how good the draft is, on any scale where more is better; None if it was not said.
        issues: what is wrong, one by one.
        feedback: what the worker is told.
    """

    decision: Literal["accept", "revise", "reject"]
    score: float | None = None
    issues: tuple[str, ...] = ()
    feedback: str = ""

    def __post_init__(self) -> None:
        # A word that is none of these would ask for a revision, for ever.
        if self.decision not in ("accept", "revise", "reject"):
            raise InvalidOption("decision", self.decision, "'accept', 'revise' or 'reject'")
        score: object = self.score
        if score is not None and (isinstance(score, bool) or not isinstance(score, (int, float))):
            raise InvalidOption("score", score, "a number, or None")

    @property
    def text(self) -> str:
        """The feedback and the issues, as the worker gets them."""
        return "\n".join([self.feedback, *(f"- {issue}" for issue in self.issues)]).strip()

    @property
    def data(self) -> Verdict:
        """The verdict itself, by which it survives being carried in an agent's `Reply`."""
        return self

    @property
    def cost_usd(self) -> Decimal:
        """Nothing: what a reviewer paid for it is the reviewer's to tell, in a `Reply`."""
        return Decimal(0)


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """One draft in a `Supervisor`.

    Attributes:
        revision: 0 for the first draft.
        output, text: the draft.
        verdict: the reviewer's answer, or None if it was not reviewed.
        reply: the worker's whole reply.
    """

    revision: int
    output: Any
    text: str
    verdict: Verdict | None = None
    reply: Any = None

    @property
    def score(self) -> float | None:
        """The reviewer's score, or None."""
        return None if self.verdict is None else self.verdict.score


class SupervisorResult(RunResult, frozen=True, kw_only=True):
    """What a `Supervisor` returns; its output is the best draft.

    `reason` is "accepted", "rejected", "max_revisions", "deadline", "budget", "no_gain",
    "reviewer_failed" or "worker_failed".

    Attributes:
        drafts: all drafts with their verdicts, in order.
        chosen: the revision that is the output; None without any draft.
        revisions: how many revisions were made after the first draft.
        crashes: how often worker or reviewer crashed and was asked again.
    """

    drafts: tuple[Draft, ...] = ()
    chosen: int | None = None
    revisions: int = 0
    crashes: int = 0

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The reviewer's verdicts, in order."""
        return tuple(draft.verdict for draft in self.drafts if draft.verdict is not None)


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try of a recovery pattern.

    Attributes:
        agent: who was asked.
        kind: the class of its failure, or None if it succeeded.
        error: type and text of the error, or None.
        waited: seconds waited before it.
    """

    agent: str
    kind: str | None = None
    error: str | None = None
    waited: float = 0.0


class RecoveryResult(RunResult, frozen=True, kw_only=True):
    """What `Retry`, `Fallback`, `Degrade` and `CircuitBreaker` return.

    Attributes:
        attempts: every try, in order.
        answered_by: the agent that gave the answer, or None.
        retry_after: seconds after which another run may succeed, where that is known.
        reply: the agent's whole reply.
    """

    attempts: tuple[Attempt, ...] = ()
    answered_by: str | None = None
    retry_after: float | None = None
    reply: Any = None
