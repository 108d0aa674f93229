"""Reading what does not fit a model's context: page by page, and the notes again if need be."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import msgspec

from actors import Agent, ContextWindowExceeded, Model, Reply, split_text, to_text
from patterns._cli.checking import check, tidy
from patterns._cli.inputs import Assignment
from patterns._drawing import Drawing, Ends
from patterns._results import RunResult
from patterns._run import Pattern
from patterns._work import Run

__all__ = ["Brief", "Desk", "Paper", "Reading"]

LARGEST_PAGE = 3000
"""Tokens of input that one agent is given at most at a time; more makes for shallow notes."""

SHARE = 5
"""The part of a known context that one page takes is one in so many: reading gets slower, and a
small model loses the thread, long before the context is full."""

SMALLEST_PAGE = 64
"""Tokens; a context that is too small for this cannot be worked with."""


class Brief(msgspec.Struct, frozen=True):
    """What one agent is to work on.

    Attributes:
        request: what the user wants.
        material: what it is to rest on.
    """

    request: str
    material: str = ""

    @property
    def text(self) -> str:
        """The material, then the request."""
        return f"{self.material}\n\n{self.request}" if self.material else self.request


class Paper:
    """How much a model reads at a time; shared by a team, which learns it from refusals.

    Args:
        model: whose context and tokenizer count.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        window = model.context_window
        self.page = LARGEST_PAGE if window is None else _page_of(window)

    def count(self, text: str) -> int:
        """Return the tokens of a text."""
        return self._model.count_tokens(text)

    def length(self, finer: int = 1) -> int:
        """Return the tokens of a page; `finer` divides it for a model that reads little at once."""
        if self.page == LARGEST_PAGE:
            return self.page
        return max(SMALLEST_PAGE, self.page // finer)

    def fits(self, text: str, finer: int = 1) -> bool:
        """Tell whether a text is no longer than a page."""
        # Counting costs, and a token has at least one character.
        return len(text) <= self.length(finer) or self.count(text) <= self.length(finer)

    def learn(self, error: ContextWindowExceeded, text: str) -> None:
        """Make the pages small enough for a context that `text` did not fit.

        Raises:
            ContextWindowExceeded: they are as small as can be.
        """
        page = min(_page_of(error.window), self.count(text) // 2, self.page // 2)
        if page < SMALLEST_PAGE:
            raise error
        self.page = page

    def cut(self, text: str, finer: int = 1) -> list[str]:
        """Return a text in pages."""
        return split_text(text, max_tokens=self.length(finer), count_tokens=self.count)


def _page_of(window: int) -> int:
    return max(SMALLEST_PAGE, min(LARGEST_PAGE, window // SHARE))


class Reading(Pattern[RunResult]):
    """Has an agent take notes of an assignment or a brief, page by page, until they fit a page.

    Nothing is left out: each page is read, and so are the notes if they are too long.

    Args:
        reader: who takes the notes.
        paper: how long a page is.
        instruction: what the reader is asked after each page, with `{request}`.
        as_is: whether material that fits a page is passed on unread.
        finer: into how many parts a small model's pages are divided.
        name: for the tree, traces and records.
    """

    result_type: ClassVar[type[RunResult]] = RunResult

    def __init__(
        self,
        reader: Agent,
        paper: Paper,
        instruction: str,
        *,
        as_is: bool,
        finer: int = 1,
        name: str,
    ) -> None:
        super().__init__(name, None)
        self._reader = reader
        self._paper = paper
        self._instruction = instruction
        self._as_is = as_is
        self._finer = finer

    async def conduct(self, work: Run, input: Any) -> RunResult:  # noqa: A002 - as in `run`
        """Read until it fits."""
        request, texts = _material(input)
        whole = "\n\n".join(texts)
        if not whole or (self._as_is and self._paper.fits(whole, self._finer)):
            return work.result(RunResult, output=whole or request, reason="as_is")
        notes = await self._read(work, texts, request)
        rounds = 1
        while not self._paper.fits(notes):
            shorter = await self._read(work, [notes], request)
            rounds += 1
            if len(shorter) >= len(notes):
                # A model that says more than it reads: no further round would help.
                break
            notes = shorter
        return work.result(RunResult, output=notes, reason=f"read in {rounds} rounds")

    async def _read(self, work: Run, texts: list[str], request: str) -> str:
        pages = [page for text in texts for page in self._paper.cut(text, self._finer)]
        work.record(
            "split",
            pages=len(pages),
            page_tokens=self._paper.length(self._finer),
            documents=len(texts),
        )
        # All at once; how many are read at a time is up to the agent.
        tasks = [asyncio.create_task(self._page(work, page, request)) for page in pages]
        try:
            notes = [await task for task in tasks]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        return "\n\n".join(note for note in notes if note)

    async def _page(self, work: Run, page: str, request: str) -> str:
        instruction = self._instruction.format(request=request)
        try:
            reply = await work.ask(self._reader, f"{page.strip()}\n\n{instruction}")
        except ContextWindowExceeded as error:
            self._paper.learn(error, page)
            return await self._read(work, [page], request)
        note = check(_tidied(reply, instruction), page)
        if note.dropped:
            work.record("strike", groundless=[names for _, names in note.dropped])
        return note.text

    def draw_on(self, drawing: Drawing) -> Ends:
        """Draw the reader."""
        return drawing.place(self._reader, self.name)


class Desk(Pattern[RunResult]):
    """An agent with a standing instruction, whose material is condensed if it does not fit.

    Args:
        agent: who works here.
        paper: how long a page is.
        instruction: what it is asked after the material, with `{request}`.
        condense: what shortens material that does not fit.
    """

    result_type: ClassVar[type[RunResult]] = RunResult

    def __init__(self, agent: Agent, paper: Paper, instruction: str, condense: Reading) -> None:
        super().__init__(agent.name, None)
        self._agent = agent
        self._paper = paper
        self._instruction = instruction
        self._condense = condense

    async def conduct(self, work: Run, input: Any) -> RunResult:  # noqa: A002 - as in `run`
        """Work on a brief, or on a text as it is."""
        while True:
            try:
                reply = await work.ask(self._agent, self._prompt(input))
            except ContextWindowExceeded as error:
                if not (isinstance(input, Brief) and input.material):
                    raise
                self._paper.learn(error, input.material)
                work.record("condense", window=error.window, tokens=error.tokens)
                shorter = await work.ask(self._condense, input)
                input = msgspec.structs.replace(input, material=shorter.text)  # noqa: A001
            else:
                return work.result(
                    RunResult, output=_tidied(reply, self._instruction), reason=reply.finish_reason
                )

    def _prompt(self, given: Any) -> str:
        if not isinstance(given, Brief):
            return to_text(given)
        instruction = self._instruction.format(request=given.request)
        return f"{given.material.strip()}\n\n{instruction}".strip()

    def draw_on(self, drawing: Drawing) -> Ends:
        """Draw the agent."""
        return drawing.place(self._agent, self.name)


def _material(given: Any) -> tuple[str, list[str]]:
    if isinstance(given, Assignment):
        return given.request, [document.text for document in given.documents]
    if isinstance(given, Brief):
        return given.request, [given.material] if given.material else []
    return "", [to_text(given)]


def _tidied(reply: Reply, instruction: str) -> str:
    """Return an answer without what a small model adds to it: its own next task."""
    answer, echo, _ = reply.text.partition(f"\n{instruction.partition('.')[0]}")
    return tidy(answer, cut_off=reply.finish_reason == "length" and not echo)
