"""Router: one agent of several, chosen by a classifier, with a fallback for every doubt."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any, ClassVar

from actors import ActorSystem, InvalidOption
from patterns._choice import Choice, Why, as_choice, choose
from patterns._classifiers import Classifier, EmbeddingClassifier, Label, ModelClassifier
from patterns._drawing import Drawing, Ends
from patterns._failures import describe
from patterns._results import RouterResult, RunFailed, RunResult, output_of
from patterns._run import Pattern, as_slot
from patterns._work import Run

__all__ = ["Choice", "EmbeddingClassifier", "Label", "ModelClassifier", "Router"]

FALLBACK = "fallback"
"""The name of the route that is taken in doubt, where it is none of the others."""


class Router(Pattern[RouterResult]):
    """Sends each input to one of several agents.

    Whatever is in doubt goes to the fallback, and the record says why: the classifier failed
    ("classifier_error"), named no route ("unknown_label"), was not sure ("low_confidence") or
    saw another route nearly as good ("thin_margin").

    Args:
        routes: label to agent.
        classify: a sync or async callable from the input to a label or a `Choice`; a
            `ModelClassifier`, an `EmbeddingClassifier`; or an agent that answers with a label.
        min_confidence: least confidence to follow, 0 to 1.
        min_margin: least distance to the best alternative, 0 to 1.
        fallback: an agent, or the label of a route.
        name: for the tree, traces and records.
        system: the system to run in.

    Raises:
        InvalidOption: an option makes no sense.
    """

    result_type: ClassVar[type[RunResult]] = RouterResult

    def __init__(
        self,
        routes: Mapping[str, Any],
        classify: Any,
        *,
        min_confidence: float = 0.8,
        min_margin: float = 0.0,
        fallback: Any,
        name: str | None = None,
        system: ActorSystem | None = None,
    ) -> None:
        super().__init__(name, system)
        if not isinstance(routes, Mapping) or not routes:
            raise InvalidOption("routes", routes, "a mapping of at least one label to an agent")
        for label in routes:
            if not isinstance(label, str) or not label:
                raise InvalidOption("routes", label, "labels that are non-empty strings")
        figures: Any = (("min_confidence", min_confidence), ("min_margin", min_margin))
        for option, value in figures:
            if type(value) is bool or not (isinstance(value, Real) and 0 <= float(value) <= 1):
                raise InvalidOption(option, value, "a number from 0 to 1")
        is_agent = callable(getattr(classify, "run", None)) and not isinstance(classify, type)
        if not (is_agent or isinstance(classify, Classifier) or callable(classify)):
            raise InvalidOption("classify", classify, "a callable, a classifier or an agent")
        self._routes = {label: as_slot(agent, label) for label, agent in routes.items()}
        self._classify: Any = as_slot(classify) if is_agent else classify
        self._is_agent = is_agent
        self._min_confidence = min_confidence
        self._min_margin = min_margin
        if isinstance(fallback, str) and fallback in self._routes:
            self._fallback_label, self._fallback = fallback, self._routes[fallback]
        else:
            self._fallback_label, self._fallback = FALLBACK, as_slot(fallback, FALLBACK)

    async def conduct(self, work: Run, given: Any) -> RouterResult:
        """Classify, record, and send on."""
        choice, why, doubt = await self._decide(work, given)
        label, agent = self._fallback_label, self._fallback
        if why == "confident" and choice is not None:
            label, agent = choice.target, self._routes[choice.target]
        facts: dict[str, Any] = {
            "route": label,
            "why": why,
            "target": choice.target if choice is not None else None,
            "confidence": choice.confidence if choice is not None else None,
            "alternatives": choice.alternatives if choice is not None else (),
        }
        margin = choice.margin if choice is not None else None
        work.record("route", **facts, margin=margin, error=doubt)
        try:
            reply = await work.ask(agent, given)
        except Exception as error:  # noqa: BLE001 - the route taken belongs into the result
            status, reason = work.ending(error)
            found = error.result if isinstance(error, RunFailed) else None
            return work.result(
                RouterResult,
                output=found.output if found is not None else None,
                status=status,
                reason=reason,
                error=describe(error),
                reply=found,
                **facts,
            )
        nested = isinstance(reply, RunResult)
        return work.result(
            RouterResult,
            output=output_of(reply),
            text=reply.text,
            status=reply.status if nested else "done",
            reason=reply.reason if nested else "routed",
            reply=reply,
            **facts,
        )

    async def _decide(self, work: Run, given: Any) -> tuple[Choice | None, Why, str | None]:
        try:
            choice = await self._ask_classifier(work, given)
        except Exception as error:
            if work.ending(error)[0] == "halted":
                # There is neither money nor time for the fallback either.
                raise
            return None, "classifier_error", describe(error)
        why = choose(choice, self._routes, self._min_confidence, self._min_margin)
        return choice, why, None

    async def _ask_classifier(self, work: Run, given: Any) -> Choice:
        if isinstance(self._classify, Classifier):
            return as_choice(await self._classify.choose(work, given))
        if self._is_agent:
            # Its reply is metered by `ask`.
            return as_choice((await work.ask(self._classify, given)).text)
        choice = as_choice(await work.call(self._classify, given))
        if choice.reply is not None:
            work.meter.add(choice.reply)
        return choice

    def draw_on(self, drawing: Drawing) -> Ends:
        """Draw the routes side by side."""
        with drawing.group(self.name):
            start = drawing.box(self.name, "choice")
            end = drawing.box("answer", "round")
            slots = dict(self._routes)
            slots.setdefault(self._fallback_label, self._fallback)
            for label, agent in slots.items():
                first, last = drawing.place(agent)
                drawing.arrow(start, first, label, dotted=label == self._fallback_label)
                drawing.arrow(last, end)
        return start, end
