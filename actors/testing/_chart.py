"""A history as a message sequence chart: a column for each actor, an arrow for each message.

```
    0.000  test          /bank         /alice
             |             *             |       starts
             |---- #1 ---->|             |       Deposit(amount=10)
             |             |---- #2 ---->:       Notify(amount=10)
    1.500    |             |             o #2    Notify(amount=10)
             |<- - #1 - - -|             |       10
```

A message that is handled at once is one arrow. Otherwise its arrow ends in `:`, and an `o` shows
where it is handled. Replies are broken arrows. In place of a lifeline, `*` is a start, `X` an end,
`!` a failure, `~` a restart, `?` a dead letter or a late reply, `#` a fault that was injected, and
`@` a message to itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from actors.testing._history import Event, History, canonical

__all__ = ["chart"]

MOST_LINES = 60
"""Rows of a chart, beyond which the middle is left out."""

MOST_COLUMNS = 8
_SPREAD = 84
"""Characters for all columns together."""
_WIDEST = 18
_NARROWEST = 10
_TEXT = 56
"""Characters of what is said about an event."""
_TIME = 11
_OTHERS = "(others)"

_MARKS = {
    "handle": "o",
    "start": "*",
    "stop": "X",
    "fail": "!",
    "restart": "~",
    "dead": "?",
    "late": "?",
    "fault": "#",
}
_WORDS = {
    "start": "starts",
    "stop": "stops",
    "fail": "fails",
    "restart": "restarts",
    "dead": "dead letter",
    "late": "late reply",
    "fault": "FAULT",
}


def chart(history: History | Sequence[Event], *, lines: int = MOST_LINES) -> str:
    """Return the chart of a history.

    Args:
        history: what happened.
        lines: how many rows at most; of a longer history the middle is left out, and nearly all
            that is kept is its end.
    """
    count = len(history)
    # A row is one event or two.
    begin = range(min(count, 2 * lines))
    end = range(max(len(begin), count - 2 * lines), count)
    if count <= 4 * lines:
        begin, end = range(count), range(0)
    shown = list(_rows([history[index] for index in begin]))
    rest = list(_rows([history[index] for index in end]))
    gap: int | None = None
    if len(shown) + len(rest) > lines:
        gap = lines // 4
        shown = [*shown[:gap], *(shown + rest)[gap + 1 - lines :]]
    if not shown:
        return "(nothing happened)\n"
    left_out = count - sum(1 + handled for _, handled in shown)
    drawing = _Drawing(shown)
    drawn = drawing.head()
    time = None
    for index, (event, handled) in enumerate(shown):
        if index == gap:
            drawn.append(f"{'':{_TIME}}... {left_out} events are left out here ...")
        drawn.append(drawing.row(event, handled, f"{event.time:.3f}"))
        if drawn[-1][:_TIME].strip() == time:
            drawn[-1] = " " * _TIME + drawn[-1][_TIME:]
        else:
            time = drawn[-1][:_TIME].strip()
    return "".join(f"{line.rstrip()}\n" for line in drawn)


def _rows(events: list[Event]) -> Iterable[tuple[Event, bool]]:
    """Return what makes a row each, and whether it is a message that is handled at once."""
    index = 0
    while index < len(events):
        event = events[index]
        after = events[index + 1] if index + 1 < len(events) else None
        at_once = (
            after is not None
            and event.kind in {"send", "ask"}
            and after.kind == "handle"
            and after.number == event.number
            and after.target == event.target
            and after.time == event.time
        )
        yield event, at_once
        index += 2 if at_once else 1


class _Drawing:
    """Where the columns stand.

    Args:
        rows: all that is drawn.
    """

    def __init__(self, rows: list[tuple[Event, bool]]) -> None:
        names = _participants([event for event, _ in rows])
        self._pitch = max(_NARROWEST, min(_WIDEST, _SPREAD // len(names)))
        self._places = {name: index * self._pitch + 2 for index, name in enumerate(names)}
        self._width = len(names) * self._pitch
        self._titles = _titles(names, self._pitch - 2)

    def head(self) -> list[str]:
        """Return the lines with the names."""
        line = " " * _TIME
        for title in self._titles.values():
            line += f"{title:<{self._pitch}}"
        longer = [f"{title} is {name}" for name, title in self._titles.items() if title != name]
        explained = [f"{'':{_TIME}}({', '.join(longer)})"] if longer else []
        return [*explained, line]

    def _place(self, name: str) -> int:
        return self._places.get(name, self._places.get(_OTHERS, 0))

    def row(self, event: Event, handled: bool, time: str) -> str:
        """Return the line of an event."""
        cells = [" "] * self._width
        for place in self._places.values():
            cells[place] = "|"
        said = "" if event.what is None else canonical(event.what)
        number = f"#{event.number}" if event.number else ""
        target = self._place(event.target)
        between = event.kind in {"send", "ask", "reply"} and bool(event.source)
        source = self._place(event.source) if between else target
        who = [
            name
            for name in ((event.source, event.target) if between else (event.target,))
            if name not in self._places
        ]
        if between and source != target:
            _arrow(cells, source, target, number, broken=event.kind == "reply")
            if event.kind != "reply" and not handled:
                cells[target] = ":"
        else:
            mark = "@" if between else _MARKS.get(event.kind, "@")
            _write(cells, target, f"{mark} {number}" if number else mark)
        words = _WORDS.get(event.kind, "")
        if between and source == target and not who:
            words = "to itself" if event.kind != "reply" else "reply to itself"
        if who:
            words = f"{' -> '.join(who)} {words}".rstrip()
        text = f"{words}: {said}" if words and said else words or said
        if len(text) > _TEXT:
            text = f"{text[: _TEXT - 18]}...{text[-15:]}"
        return f"{time:>{_TIME - 2}}  {''.join(cells)}{text}"


def _write(cells: list[str], place: int, text: str) -> None:
    for offset, letter in enumerate(text):
        if place + offset < len(cells):
            cells[place + offset] = letter


def _arrow(cells: list[str], source: int, target: int, number: str, *, broken: bool) -> None:
    left, right = sorted((source, target))
    for place in range(left + 1, right):
        # Lifelines in between are crossed by the arrow.
        cells[place] = "-" if not broken or (place - left) % 2 else " "
    if target == right:
        cells[right - 1] = ">"
    else:
        cells[left + 1] = "<"
    label = f" {number} "
    # Near its source, so that the numbers of a fan-out stand below each other.
    begin = left + 4 if source == left else right - 3 - len(label)
    if right - left > len(label) + 3:
        _write(cells, max(left + 2, begin), label)


def _participants(events: list[Event]) -> list[str]:
    """Return whose columns are drawn: those who matter to the end, in the order of appearance."""
    order: dict[str, None] = {}
    for event in events:
        for name in _who(event):
            order.setdefault(name)
    if len(order) <= MOST_COLUMNS:
        return list(order)
    last: set[str] = set()
    for event in reversed(events):
        for name in _who(event):
            if len(last) < MOST_COLUMNS - 1:
                last.add(name)
    return [*(name for name in order if name in last), _OTHERS]


def _who(event: Event) -> list[str]:
    return [name for name in (event.source, event.target) if name]


def _titles(names: list[str], width: int) -> dict[str, str]:
    """Return a short name for each, no two of them the same."""
    titles: dict[str, str] = {}
    for name in names:
        title = name if len(name) <= width else f"..{name[2 - width :]}"
        if title in titles.values():
            mark = f"~{len(titles)}"
            title = title[: width - len(mark)] + mark
        titles[name] = title
    return titles
