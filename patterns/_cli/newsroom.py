"""The default team: an editor who sorts requests, and three desks that work on them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import msgspec

from actors import Agent, Model, Price
from patterns._cli.checking import Checked, check, tidy, without_items
from patterns._cli.inputs import Assignment
from patterns._cli.reading import Brief, Desk, Paper, Reading
from patterns._cli.sorting import Sorter, by_rule, desks_for, phrase_schema
from patterns._drawing import Drawing, Ends
from patterns._results import GivenReply, RunResult, Verdict
from patterns._run import Pattern
from patterns._work import Run
from patterns.broadcast import Broadcast
from patterns.pipeline import Pipeline, Skip, Stage, State
from patterns.router import Router
from patterns.supervisor import Supervisor

__all__ = ["PLAN", "Staff", "newsroom"]

MIN_AGREEMENT = 0.6
"""Least share of the editor's ballots to follow; below it the rule decides."""

# Ceilings of answers, in tokens. A model of 135 million parameters has said what it has to say
# by then, and begins to make things up.
NOTE_TOKENS = 80
DRAFT_TOKENS = 180
VERDICT_TOKENS = 96

# What desks wait for, in the order in which they go to work; for the live picture only.
PLAN = {
    "newsroom": ("editor",),
    "summarize": ("notes", "writer", "review"),
    "research": ("notes", "angles"),
    "angles": ("facts", "reasons", "consequences", "aggregator"),
    "code_review": ("notes", "supervisor"),
    "supervisor": ("worker", "review"),
}

# A small model follows what is asked last, in the simplest words, far better than any
# instructions given ahead of the text.
NOTE = "What are the main facts in the text above? Answer in short sentences."
NOTE_ON_REQUEST = 'Summarize in two sentences what the text above says about this: "{request}"'
NOTE_ON_CODE = "What does each function above do, and how could it fail? Answer in short sentences."
# Of more than a few functions at a time, a small model sees only the last.
FINER_FOR_CODE = 3
DRAFT = "Rewrite the text above as one clear paragraph."
EDIT = "Rewrite the text above so that it is clear. Leave out what is said twice."
REVIEW_CODE = "Rewrite the text above as a clear code review. {request}"
ANGLES = {
    "facts": "Name the most important facts of the text above. {request}",
    "reasons": "Explain the reasons behind what the text above tells. {request}",
    "consequences": "Say what the consequences of what the text above tells were. {request}",
}
# Without an input there is no text above, and a model would ask for it.
ANGLES_ALONE = {
    "facts": "Name the most important facts about this: {request}",
    "reasons": "Explain the reasons behind this: {request}",
    "consequences": "Say what the consequences of this were: {request}",
}
HEADINGS = {"facts": "Facts", "reasons": "Reasons", "consequences": "Consequences"}
COMBINE = "Combine the text above into one short answer. {request}"
COMBINE_ALONE = "Combine these answers into one short answer. {request}"

DRAFT_MARK = "\n\nReview of this code:\n"
JUDGE = "{input}" + DRAFT_MARK + "{draft}"
JUDGEMENT = (
    "\n\nIs this review specific, and does it speak of this code? Accept it, or ask to revise it "
    "and say in one sentence what is missing."
)
REVISE = "{input}\n\nAn earlier review:\n{draft}\n\n{feedback}\nWrite a better review of the code."
JUDGEMENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "feedback": {"type": "string", "maxLength": 160},
        "decision": {"type": "string", "enum": ["accept", "revise"]},
    },
    "required": ["feedback", "decision"],
    "additionalProperties": False,
}
MAX_REVISIONS = 1


class Staff(msgspec.Struct, frozen=True):
    """What the agents of a newsroom have in common.

    Attributes:
        model: who does the thinking.
        price: what its tokens cost, if the list of prices does not know; None is the list.
        timeout: seconds that one answer may take.
        readers: how many pages are read at a time.
    """

    model: Model
    price: Price | None = None
    timeout: float | None = None
    readers: int = 1

    def hire(
        self,
        name: str,
        max_tokens: int,
        *,
        schema: dict[str, Any] | None = None,
        concurrency: int = 1,
    ) -> Agent:
        """Return an agent of that name."""
        return Agent(
            self.model,
            name=name,
            max_tokens=max_tokens,
            schema=schema,
            concurrency=concurrency,
            price=self.price,
            timeout=self.timeout,
        )


def newsroom(staff: Staff, assignment: Assignment) -> Router:
    """Return the team for an assignment.

    Args:
        staff: the agents' model and limits.
        assignment: what it is for; its inputs decide where doubtful requests go.
    """
    paper = Paper(staff.model)
    # A phrase of the schema takes 12 tokens, the JSON around it up to 40 with its blanks.
    editor = staff.hire("editor", 64, schema=phrase_schema(desks_for(assignment)))
    return Router(
        {
            "code_review": _code_review(staff, paper, assignment),
            "summarize": _summarize(staff, paper),
            "research": _research(staff, paper, assignment),
        },
        Sorter(editor).classify,
        min_confidence=MIN_AGREEMENT,
        fallback=by_rule(assignment),
        name="newsroom",
    )


def _reading(
    staff: Staff, paper: Paper, instruction: str, *, as_is: bool, finer: int = 1
) -> Reading:
    reader = staff.hire("reader", NOTE_TOKENS, concurrency=staff.readers)
    return Reading(reader, paper, instruction, as_is=as_is, finer=finer, name="notes")


def _brief(state: State) -> Brief:
    return Brief(state.input.request, state.stages["notes"].text)


def _bare_brief(state: State) -> Brief:
    """Return the brief of a request that came without a text."""
    return Brief(state.input.request)


def _flat_brief(state: State) -> Brief:
    """Return the brief with the notes as running text, below the request.

    Lists make a small model write lists, and a request that comes last makes it answer that alone.
    """
    request = state.input.request.rstrip(".")
    notes = without_items(state.stages["notes"].text)
    return Brief(request, f"{request}.\n\n{notes}")


def _summarize(staff: Staff, paper: Paper) -> Pipeline:
    notes = _reading(staff, paper, NOTE, as_is=False)
    draft = Desk(staff.hire("writer", DRAFT_TOKENS), paper, DRAFT, notes)
    review = Proofreading(staff.hire("reviewer", DRAFT_TOKENS), name="review")

    def to_review(state: State) -> Proof:
        return Proof(
            state.stages["draft"].text, f"{state.input.text}\n\n{state.stages['notes'].text}"
        )

    return Pipeline(
        [
            Stage("notes", notes),
            Stage("draft", draft, prompt=_flat_brief),
            # A draft that could not be reviewed is still worth having.
            Stage("review", review, prompt=to_review, on_error=Skip()),
        ],
        name="summarize",
    )


def _research(staff: Staff, paper: Paper, assignment: Assignment) -> Pipeline:
    notes = _reading(staff, paper, NOTE_ON_REQUEST, as_is=True)
    asked, combine, brief = ANGLES, COMBINE, _brief
    if not assignment.documents:
        asked, combine, brief = ANGLES_ALONE, COMBINE_ALONE, _bare_brief
    angles = {
        name: Desk(staff.hire(name, DRAFT_TOKENS), paper, instruction, notes)
        for name, instruction in asked.items()
    }
    aggregator = Desk(staff.hire("aggregator", DRAFT_TOKENS), paper, combine, notes)

    async def aggregate(replies: Sequence[GivenReply]) -> str:
        # In the order of the desk; each angle stays readable below the common answer.
        material = "\n\n".join(reply.text for reply in replies)
        found = (await aggregator.run(Brief("", material))).require()
        parts = [found.text]
        parts.extend(f"## {HEADINGS[reply.recipient]}\n\n{reply.text}" for reply in replies)
        return "\n\n".join(parts)

    desk = Broadcast(angles, aggregate, name="angles")
    return Pipeline([Stage("notes", notes), Stage("angles", desk, prompt=brief)], name="research")


def _code_review(staff: Staff, paper: Paper, assignment: Assignment) -> Pipeline:
    notes = _reading(staff, paper, NOTE_ON_CODE, as_is=True, finer=FINER_FOR_CODE)
    worker = Desk(staff.hire("worker", DRAFT_TOKENS), paper, REVIEW_CODE, notes)
    judge = staff.hire("reviewer", VERDICT_TOKENS, schema=JUDGEMENT_SCHEMA)
    desk = Supervisor(
        worker,
        Agent(Judging(judge, assignment).verdict, name="review"),
        max_revisions=MAX_REVISIONS,
        review=JUDGE,
        revise=REVISE,
        name="supervisor",
    )
    return Pipeline(
        [Stage("notes", notes), Stage("revisions", desk, prompt=_brief)], name="code_review"
    )


class Proof(msgspec.Struct, frozen=True):
    """A draft to be reviewed.

    Attributes:
        text: the draft.
        source: everything it may rest on.
    """

    text: str
    source: str


class Proofreading(Pattern[RunResult]):
    """Has a draft rewritten, and strikes out of both what the source has no ground for.

    The version that lost less is the result; the rewritten one if neither lost anything.

    Args:
        reviewer: who rewrites.
        name: for the tree, traces and records.
    """

    result_type: ClassVar[type[RunResult]] = RunResult

    def __init__(self, reviewer: Agent, *, name: str) -> None:
        super().__init__(name, None)
        self._reviewer = reviewer

    async def conduct(self, work: Run, input: Any) -> RunResult:  # noqa: A002 - as in `run`
        """Rewrite, check, choose."""
        proof: Proof = input
        draft = check(proof.text, proof.source)
        reply = await work.ask(self._reviewer, f"{draft.text}\n\n{EDIT}")
        rewritten = check(tidy(reply.text, cut_off=reply.finish_reason == "length"), proof.source)
        # Half a text is no better text.
        whole = len(rewritten.text) >= len(draft.text) / 2
        kept = rewritten if whole and not rewritten.dropped else draft
        work.record(
            "review",
            kept="rewritten" if kept is rewritten else "draft",
            struck_from_draft=_struck(draft),
            struck_from_rewritten=_struck(rewritten),
        )
        return work.result(RunResult, output=kept.text, reason="reviewed")

    def draw_on(self, drawing: Drawing) -> Ends:
        """Draw the reviewer."""
        return drawing.place(self._reviewer, self.name)


def _struck(checked: Checked) -> list[dict[str, Any]]:
    return [{"sentence": text, "groundless": names} for text, names in checked.dropped]


class Judging:
    """Judges reviews of code: by a model, and by whether they name things that the code has.

    Args:
        judge: a model with `JUDGEMENT_SCHEMA`.
        assignment: what has the code.
    """

    def __init__(self, judge: Agent, assignment: Assignment) -> None:
        self._judge = judge
        self._known = frozenset(_IDENTIFIER.findall(assignment.text))

    async def verdict(self, prompt: str) -> Verdict:
        """Return the verdict; its score is the share of the draft's names that are in the code."""
        draft = prompt.rpartition(DRAFT_MARK)[2]
        named = set(_NAMED.findall(draft))
        invented = sorted(named - self._known)
        score = len(named & self._known) / len(named) if named else 0.0
        reply = await self._judge.run(f"{prompt}{JUDGEMENT}")
        said = msgspec.convert(reply.data, _Judgement)
        issues = tuple(f"`{name}` does not occur in the code." for name in invented)
        if not named:
            issues = ("It names no function or variable of the code.",)
        return Verdict(
            "revise" if issues else said.decision, round(score, 2), issues, said.feedback
        )


class _Judgement(msgspec.Struct):
    feedback: str
    decision: Literal["accept", "revise"]


_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
# In prose, what stands between back quotes, has an underscore or is called is a name of code.
_NAMED = re.compile(r"(?<=`)[A-Za-z_]\w*|\b[A-Za-z]+_\w+|\b[A-Za-z_]\w*(?=\()")
