"""The live picture of a team at work, and how figures are written everywhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal

from rich.console import Group, RenderableType
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from patterns._cli.tree import Member, Team

__all__ = ["Picture", "count", "money", "seconds"]

_MARKS = {"done": ("✓", "green"), "failed": ("✗", "red"), "waiting": ("·", "dim")}


def seconds(value: float) -> str:
    """Return a duration as people write it: `0.4 s`, `12.3 s`, `2 min 05 s`."""
    if value < 60:
        return f"{value:.1f} s"
    whole = round(value)
    return f"{whole // 60} min {whole % 60:02} s"


def count(value: int) -> str:
    """Return a number with its thousands apart."""
    return f"{value:,}".replace(",", "\u202f")


def money(usd: Decimal | None) -> str:
    """Return an amount of USD; an unknown one is said to be unknown."""
    if usd is None:
        return "unknown"
    if usd == 0:
        return "$0"
    return f"${usd:.2f}" if usd >= 1 else f"${usd:.6f}".rstrip("0")


class Picture:
    """Draws the team as a tree, anew each time it is rendered.

    Args:
        team: what is drawn.
        title: stands above it.
        plan: for a member's name, the members that will come below it.
    """

    def __init__(self, team: Team, title: str, plan: Mapping[str, Sequence[str]]) -> None:
        self._team = team
        self._title = title
        self._plan = plan
        self._began = time.monotonic()
        self._spinner = Spinner("dots", style="cyan")
        self.note = ""

    def __rich__(self) -> RenderableType:
        """Return the picture of this moment."""
        title = Text.assemble(
            (self._title, "bold"),
            ("  " + seconds(time.monotonic() - self._began), "cyan"),
            (f"  {self.note}" if self.note else "", "dim"),
        )
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, overflow="ellipsis")
        for _ in range(3):
            table.add_column(justify="right", no_wrap=True)
        rows = _with_plan(self._team.members(time.time_ns()), self._plan)
        for place, (_depth, name, member) in enumerate(rows):
            guides = _guides([row[0] for row in rows], place)
            working = member is not None and member.state == "working"
            label = Text(guides, style="dim")
            label.append_text(self._mark(member))
            label.append(f" {name}", style="bold" if working else "" if member else "dim")
            if member is not None and member.calls > 1 and _is_leaf(rows, place):
                label.append(f" {member.calls}x", style="dim")
            if member is None:
                table.add_row(label)
                continue
            table.add_row(
                label,
                f"{count(member.tokens)} tok" if member.tokens else "",
                money(member.cost_usd) if member.tokens else "",
                Text(seconds(member.seconds), style="cyan" if working else "dim"),
            )
        return Group(title, table)

    def _mark(self, member: Member | None) -> Text:
        if member is not None and member.state == "working":
            frame = self._spinner.render(time.monotonic())
            return frame if isinstance(frame, Text) else Text("*")
        mark, style = _MARKS["waiting" if member is None else member.state]
        return Text(mark, style=style)


_Row = tuple[int, str, Member | None]


def _with_plan(members: list[Member], plan: Mapping[str, Sequence[str]]) -> list[_Row]:
    """Return the rows of the picture: members, and below them those that are still to come."""
    rows: list[_Row] = [(member.depth, member.name, member) for member in members]
    for name, coming in plan.items():
        place = next((i for i, row in enumerate(rows) if row[1] == name), None)
        if place is None:
            continue
        depth = rows[place][0]
        end = place + 1
        while end < len(rows) and rows[end][0] > depth:
            end += 1
        there = {row[1] for row in rows[place:end]}
        owner = rows[place][2]
        if owner is not None and owner.state == "working":
            rows[end:end] = [(depth + 1, other, None) for other in coming if other not in there]
    return rows


def _is_leaf(rows: list[_Row], place: int) -> bool:
    return place + 1 == len(rows) or rows[place + 1][0] <= rows[place][0]


def _guides(depths: list[int], place: int) -> str:
    """Return the lines that tie a row to the one it is below."""
    depth = depths[place]
    pieces = []
    for level in range(1, depth + 1):
        later = next((d for d in depths[place + 1 :] if d <= level), 0)
        goes_on = later == level
        if level == depth:
            pieces.append("├─ " if goes_on else "└─ ")
        else:
            pieces.append("│  " if goes_on else "   ")
    return "".join(pieces)
