"""What a pipeline is made of: stages, what to do when one fails, and prompt templates. Pure."""

from __future__ import annotations

import string
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from actors import InvalidOption, to_text
from patterns._results import StageResult

__all__ = ["Fail", "OnError", "Skip", "Stage", "State", "Use", "check_template", "fill"]


class Fail(msgspec.Struct, frozen=True):
    """The stage's error ends the pipeline."""


class Skip(msgspec.Struct, frozen=True):
    """The pipeline goes on as if the stage were not there."""


class Use(msgspec.Struct, frozen=True):
    """The pipeline goes on with something else.

    Attributes:
        instead: an agent (anything callable or with a `run`), which gets the same prompt; or a
            value.
    """

    instead: Any


OnError = Fail | Skip | Use


class State(msgspec.Struct, frozen=True):
    """What a pipeline knows when a stage is about to begin; given to `when` and `prompt`.

    Attributes:
        input: what the run was given.
        stages: the stages so far, by name.
        previous: the last output, or the input if there is none yet.
    """

    input: Any
    stages: Mapping[str, StageResult]
    previous: Any

    def texts(self) -> dict[str, str]:
        """Return what a prompt template can name, as text; a skipped stage is empty."""
        own = {"input": to_text(self.input), "previous": to_text(self.previous)}
        return own | {name: stage.text for name, stage in self.stages.items()}


class Stage(msgspec.Struct, frozen=True):
    """One stage of a pipeline.

    Attributes:
        name: unique in the pipeline.
        agent: who works on it.
        prompt: a template with `{input}`, `{previous}` and the names of earlier stages in braces
            (double a brace that is meant as one), or a callable of the `State`; None passes on
            the previous output.
        max_usd: most it may spend, in USD; None is what the run may.
        max_tokens: the same in tokens.
        timeout: seconds it may take; None is as long as the run may.
        when: a callable of the `State`; if it returns False the stage is skipped.
        on_error: what follows a failure: `Fail()`, `Skip()`, or `Use(agent or value)`.
    """

    name: str
    agent: Any
    prompt: str | Callable[[State], Any] | None = None
    max_usd: Any = None
    max_tokens: int | None = None
    timeout: float | None = None
    when: Callable[[State], Any] | None = None
    on_error: OnError = Fail()


def check_template(option: str, template: str, known: Collection[str]) -> None:
    """Make sure that a template names only what there will be.

    Args:
        option: what to call the template in the error.
        template: a text with fields in braces.
        known: the fields there will be.

    Raises:
        InvalidOption: it has another field, or a brace too many.
    """
    given: object = template
    if not isinstance(given, str):
        raise InvalidOption(option, template, "a template, which is a str")
    expected = "fields among " + ", ".join(f"{{{name}}}" for name in known)
    try:
        fields = [(name, spec, conv) for _, name, spec, conv in string.Formatter().parse(template)]
    except ValueError as error:
        expected = f"a template ({error}; double a brace that is meant as one)"
        raise InvalidOption(option, template, expected) from error
    for name, spec, conversion in fields:
        if name is not None and (name not in known or spec or conversion):
            raise InvalidOption(option, template, expected)


def fill(template: str, texts: Mapping[str, str]) -> str:
    """Return a template with its fields filled in; braces in the texts are left alone."""
    pieces = []
    for literal, name, _, _ in string.Formatter().parse(template):
        pieces.append(literal)
        if name is not None:
            pieces.append(texts[name])
    return "".join(pieces)
