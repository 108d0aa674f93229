"""Supervisor: a worker and a reviewer below one actor, which restarts them and drives revisions."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import msgspec

from actors import (
    Actor,
    ActorDeadError,
    ActorRef,
    ActorSystem,
    Agent,
    ChildSpec,
    Deadline,
    InvalidOption,
    Job,
    Supervision,
    to_text,
)
from patterns._drawing import Drawing, Ends
from patterns._failures import describe, hopeless, kind_of
from patterns._results import (
    Draft,
    RunResult,
    Status,
    SupervisorResult,
    Verdict,
    output_of,
)
from patterns._revision import (
    VERDICT_SCHEMA,
    Accept,
    accepts,
    best,
    gains_nothing,
    read_verdict,
)
from patterns._run import Conductor, Pattern, Slot, as_slot
from patterns._stages import check_template, fill
from patterns._work import Run

__all__ = ["VERDICT_SCHEMA", "Supervisor", "Verdict"]

CRASHES = 3
"""Restarts of worker and reviewer together that are tolerated within PERIOD."""

PERIOD = 60.0
"""Length of the restart window in seconds."""

REVIEW = (
    "Task:\n{input}\n\nDraft:\n{draft}\n\n"
    "If the draft does what the task asks, answer with the one word APPROVED. "
    "Otherwise say what has to change."
)

REVISE = (
    "{input}\n\nYour draft:\n{draft}\n\nThe reviewer says:\n{feedback}\n\n"
    "Write the improved draft, and nothing else."
)


class _SupervisorConductor(Conductor):
    """The conductor whose children are worker and reviewer."""

    supervision = Supervision(intensity=CRASHES, period=PERIOD)


class _Performer(Actor):
    """Stands in for a pattern, or for an object that is made anew at each start.

    Args:
        worker: a pattern or agent, or a class of which each start makes an instance.
        name: what to call it.
    """

    def __init__(self, worker: Any, name: str) -> None:
        super().__init__()
        self._slot = as_slot(worker() if isinstance(worker, type) else worker, name)

    async def on_receive(self, message: Job) -> Any:
        """Have it work on the prompt."""
        return await self._slot.run(message.prompt)


class _RoleFailedError(Exception):
    """Worker or reviewer cannot go on."""

    def __init__(self, cause: BaseException) -> None:
        self.cause = cause
        super().__init__(describe(cause))


class _Loop:
    """How far one revision loop has come."""

    def __init__(self, given: Any) -> None:
        self.input = given
        self.drafts: list[Draft] = []
        self.crashes = 0


class Supervisor(Pattern[SupervisorResult]):
    """Has a worker draft and a reviewer judge, until a draft is accepted or nothing is gained.

    Both are children of the run's actor. One that raises has crashed: it is restarted and asked
    again, up to three times a minute; one whose request can never succeed is not. The result is
    the accepted draft, or else the best by score (the latest of equals), and `reason` says why
    the loop ended: "accepted", "rejected", "max_revisions", "no_gain" (a draft repeated itself,
    or two reviews did not raise the score), "deadline", "budget", "reviewer_failed",
    "worker_failed".

    Args:
        worker: the agent that drafts; a class with a `run` is instantiated at each start.
        reviewer: the agent that judges: with a `Verdict`, with JSON that is one
            (`VERDICT_SCHEMA`), or with a text whose first word is APPROVED or REJECTED; any
            other text asks for a revision.
        max_revisions: revisions after the first draft.
        deadline: seconds for a run, or a `Deadline`.
        accept: least score that counts as accepted, or a function of the `Verdict`; None follows
            the reviewer's decision.
        review: template of the reviewer's prompt, with `{input}` and `{draft}`.
        revise: template of the worker's later prompts, with `{input}`, `{draft}`, `{feedback}`.
        name: for the tree, traces and records.
        system: the system to run in.

    Raises:
        InvalidOption: an option makes no sense.
    """

    result_type: ClassVar[type[RunResult]] = SupervisorResult
    conductor: ClassVar[type[Conductor]] = _SupervisorConductor

    def __init__(
        self,
        worker: Any,
        reviewer: Any,
        *,
        max_revisions: int = 3,
        deadline: float | Deadline | None = None,
        accept: Accept = None,
        review: str = REVIEW,
        revise: str = REVISE,
        name: str | None = None,
        system: ActorSystem | None = None,
    ) -> None:
        super().__init__(name, system)
        if type(max_revisions) is not int or max_revisions < 0:
            raise InvalidOption("max_revisions", max_revisions, "a whole number, 0 or more")
        if deadline is not None and not isinstance(deadline, Deadline):
            Deadline(deadline)  # the same rules
        score: object = accept
        if not (
            score is None
            or callable(score)
            or (
                isinstance(score, (int, float)) and type(score) is not bool and math.isfinite(score)
            )
        ):
            raise InvalidOption("accept", accept, "a score, a function of the Verdict, or None")
        check_template("review", review, ("input", "draft"))
        check_template("revise", revise, ("input", "draft", "feedback"))
        self.time_limit = deadline
        self._worker = _uniform(worker, "worker")
        self._reviewer = _uniform(reviewer, "reviewer")
        self._max_revisions = max_revisions
        self._accept: Accept = accept
        self._review = review
        self._revise = revise

    async def conduct(self, work: Run, given: Any) -> SupervisorResult:
        """Draft, review, revise."""
        loop = _Loop(given)
        worker = work.spawn(_child(self._worker, "worker"))
        reviewer = work.spawn(_child(self._reviewer, "reviewer"))
        prompt: Any = given
        for revision in range(self._max_revisions + 1):
            try:
                reply = await self._ask(work, loop, worker, prompt)
            except Exception as error:  # noqa: BLE001 - the drafts so far are kept
                return self._stopped(work, loop, error, "worker_failed")
            draft = Draft(revision=revision, output=output_of(reply), text=reply.text, reply=reply)
            loop.drafts.append(draft)
            if gains_nothing(loop.drafts):
                # It repeats an earlier draft, so there is no need to pay for its review.
                return self._result(work, loop, "no_gain", best(loop.drafts))
            try:
                verdict = await self._judge(work, loop, reviewer, draft)
            except Exception as error:  # noqa: BLE001 - likewise
                return self._stopped(work, loop, error, "reviewer_failed")
            draft = msgspec.structs.replace(draft, verdict=verdict)
            loop.drafts[-1] = draft
            accepted = accepts(verdict, self._accept)
            work.record(
                "review",
                revision=revision,
                verdict=verdict.decision,
                accepted=accepted,
                score=verdict.score,
                issues=verdict.issues,
                feedback=verdict.feedback,
            )
            if accepted:
                return self._result(work, loop, "accepted", draft)
            if verdict.decision == "reject":
                return self._result(work, loop, "rejected", best(loop.drafts))
            if gains_nothing(loop.drafts):
                return self._result(work, loop, "no_gain", best(loop.drafts))
            facts = {"input": to_text(given), "draft": draft.text, "feedback": verdict.text}
            prompt = fill(self._revise, facts)
        return self._result(work, loop, "max_revisions", best(loop.drafts))

    # -- worker and reviewer -----------------------------------------------------------------

    async def _judge(
        self, work: Run, loop: _Loop, reviewer: ActorRef[Any], draft: Draft
    ) -> Verdict:
        prompt = fill(self._review, {"input": to_text(loop.input), "draft": draft.text})
        tries = 0
        while True:
            reply = await self._ask(work, loop, reviewer, prompt)
            try:
                return read_verdict(reply)
            except Exception as error:
                tries += 1
                if tries > CRASHES:
                    raise _RoleFailedError(error) from error
                work.record("retry", role=reviewer.name, kind="invalid_output", error=str(error))

    async def _ask(self, work: Run, loop: _Loop, role: ActorRef[Any], prompt: Any) -> Any:
        """Ask worker or reviewer, again after a crash; raise what the loop cannot get past."""
        failure: BaseException | None = None
        for _ in range(CRASHES + 1):
            await work.check_funds()
            try:
                return await work.take(role.request(Job(prompt)))
            except Exception as error:
                if isinstance(error, ActorDeadError) and not role.is_alive():
                    # It needed too many restarts; what it last died of says more than this.
                    raise _RoleFailedError(failure or error) from error
                kind = kind_of(error)
                if kind in {"budget", "deadline", "cancelled"}:
                    raise
                failure = error
                loop.crashes += 1
                again = not hopeless(error) and kind != "rate_limited"
                work.record(
                    "restart" if again else "give_up",
                    role=role.name,
                    kind=kind,
                    error=describe(error),
                )
                if not again:
                    break
        assert failure is not None
        raise _RoleFailedError(failure) from failure

    # -- endings -----------------------------------------------------------------------------

    def _stopped(
        self, work: Run, loop: _Loop, error: Exception, role_failed: str
    ) -> SupervisorResult:
        cause = error.cause if isinstance(error, _RoleFailedError) else error
        status, reason = work.ending(cause)
        chosen = best(loop.drafts)
        if status != "halted":
            reason = role_failed
        return self._result(work, loop, reason, chosen, error=describe(cause))

    def _result(
        self,
        work: Run,
        loop: _Loop,
        reason: str,
        chosen: Draft | None,
        error: str | None = None,
    ) -> SupervisorResult:
        status: Status = "partial"
        if reason == "accepted":
            status = "done"
        elif reason == "rejected":
            status = "failed"
        elif chosen is None:
            status = "halted" if reason in {"budget", "deadline"} else "failed"
        work.record("stop", reason=reason, chosen=chosen.revision if chosen is not None else None)
        return work.result(
            SupervisorResult,
            output=chosen.output if chosen is not None else None,
            text=chosen.text if chosen is not None else "",
            status=status,
            reason=reason,
            error=error,
            drafts=tuple(loop.drafts),
            chosen=chosen.revision if chosen is not None else None,
            revisions=max(0, len(loop.drafts) - 1),
            crashes=loop.crashes,
        )

    def draw_on(self, drawing: Drawing) -> Ends:
        """Draw the loop."""
        with drawing.group(self.name):
            first, drafted = drawing.place(self._worker, "worker")
            judge, judged = drawing.place(self._reviewer, "reviewer")
            gate = drawing.box("accepted?", "choice")
            end = drawing.box("best draft", "round")
            drawing.arrow(drafted, judge, "draft")
            drawing.arrow(judged, gate)
            drawing.arrow(gate, first, f"revise, at most {self._max_revisions}", dotted=True)
            drawing.arrow(gate, end)
        return first, end


def _uniform(worker: Any, role: str) -> Any:
    """Return a slot, or a class as it is: each start of the child makes an instance."""
    if isinstance(worker, type) and callable(getattr(worker, "run", None)):
        return worker
    return as_slot(worker, None if hasattr(worker, "name") else role)


def _child(worker: Slot | type, role: str) -> ChildSpec:
    # Killed, not drained: when the run ends, nobody waits for what they still do.
    options: dict[str, Any] = {
        "name": role,
        "crash_on": (Exception,),
        "shutdown": "brutal_kill",
    }
    if isinstance(worker, Agent):
        return worker.spec(**options)
    return ChildSpec(_Performer, (worker, role), **options)
