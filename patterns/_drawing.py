"""Drawing teams as Mermaid flowcharts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

__all__ = ["Drawing", "Ends"]

Ends = tuple[str, str]
"""The ids of the boxes where a part of a drawing is entered and left."""

Shape = Literal["box", "round", "choice", "gate"]

_SHAPES: dict[Shape, tuple[str, str]] = {
    "box": ("[", "]"),
    "round": ("(", ")"),
    "choice": ("{", "}"),
    "gate": ("{{", "}}"),
}


class Drawing:
    """A flowchart in the making."""

    def __init__(self) -> None:
        self._lines: list[str] = ["flowchart TD"]
        self._depth = 1
        self._count = 0

    def text(self) -> str:
        """Return the chart."""
        return "\n".join(self._lines) + "\n"

    def _add(self, line: str) -> None:
        self._lines.append("    " * self._depth + line)

    def _new_id(self) -> str:
        self._count += 1
        return f"n{self._count}"

    def box(self, label: str, shape: Shape = "box") -> str:
        """Draw a box and return its id."""
        ident = self._new_id()
        left, right = _SHAPES[shape]
        self._add(f'{ident}{left}"{_escaped(label)}"{right}')
        return ident

    def arrow(self, start: str, end: str, label: str = "", *, dotted: bool = False) -> None:
        """Draw an arrow between two boxes."""
        line = "-.->" if dotted else "-->"
        self._add(
            f'{start} {line}|"{_escaped(label)}"| {end}' if label else f"{start} {line} {end}"
        )

    @contextmanager
    def group(self, label: str) -> Iterator[None]:
        """Draw a frame around everything drawn inside."""
        self._add(f'subgraph {self._new_id()}["{_escaped(label)}"]')
        self._depth += 1
        yield
        self._depth -= 1
        self._add("end")

    def place(self, agent: Any, label: str | None = None) -> Ends:
        """Draw what stands in an agent slot: a pattern draws itself, all else is a box."""
        draw = getattr(agent, "draw_on", None)
        if draw is not None:
            ends: Ends = draw(self)
            return ends
        ident = self.box(label or str(getattr(agent, "name", "agent")))
        return ident, ident


def _escaped(label: str) -> str:
    return label.replace("&", "#amp;").replace('"', "#quot;").replace("\n", " ")
