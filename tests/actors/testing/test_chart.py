"""A history as a message sequence chart, for eyes."""

from __future__ import annotations

import asyncio
import functools
from collections import deque

import pytest

from actors import Actor
from actors.testing import Simulation
from actors.testing._chart import MOST_LINES, chart
from actors.testing._history import Event, canonical

PICTURE = """\
           /account          /teller           test
    0.000    *                 |                 |               starts
             |                 *                 |               starts
             |                 |<--------- #1 ---|               </account>
    1.500    |<--------- #2 ---|                 |               7
             |- - #2  - - - - >|                 |               8
             |                 ?                 |               dead letter: ('failed', </account>)
             |                 !                 |               fails: ValueError('till is locked')
             |                 ~                 |               restarts
"""


def event(kind, source="", target="/b", number=0, what=None, time=0.0):
    return Event(
        step=0, time=time, kind=kind, source=source, target=target, number=number, what=what
    )


def lines(events, **options):
    return chart(events, **options).splitlines()


def test_a_chart_reads_as_a_message_sequence_chart():
    class Account(Actor):
        def on_receive(self, message):
            return message + 1

    class Teller(Actor):
        async def on_receive(self, account):
            await asyncio.sleep(1.5)
            await account.request(7)
            raise ValueError("till is locked")

    with Simulation(seed=1) as sim:
        account = sim.system.spawn(Account, name="account")
        sim.system.spawn(Teller, name="teller").tell(account)
        sim.run()
        assert chart(sim.history) == PICTURE


def test_nothing_is_drawn_of_nothing():
    assert chart([]) == "(nothing happened)\n"


def test_a_message_that_is_handled_later_has_a_place_of_its_own():
    drawn = lines(
        [
            event("send", "/a", "/b", 1, "first"),
            event("send", "/a", "/b", 2, "second"),
            event("handle", "/a", "/b", 1, "first"),
            event("handle", "/a", "/b", 2, "second", time=2.0),
        ]
    )
    assert [line.split("|")[-1].split(">")[-1].split()[0] for line in drawn[1:3]] == [":", ":"]
    assert "o #1" in drawn[3]
    assert "o #2" in drawn[4]


def test_a_time_stands_only_where_it_changes():
    drawn = lines([event("start", time=time) for time in (0.0, 0.0, 3600.0, 3600.0)])
    assert [line[:11].strip() for line in drawn[1:]] == ["0.000", "", "3600.000", ""]


def test_arrows_of_different_directions_point_to_their_targets():
    to_the_right, to_the_left = lines(
        [event("send", "/a", "/b", 1, "x"), event("send", "/b", "/a", 2, "y")]
    )[1:]
    assert to_the_right.index("#1") < to_the_right.index(">")
    assert to_the_left.index("<") < to_the_left.index("#2")


def test_faults_dead_letters_and_messages_to_oneself_are_marked():
    drawn = lines(
        [
            event("fault", what="crash 1"),
            event("dead", what=("stopped", 3)),
            event("late", what=4),
            event("send", "/b", "/b", 9, "again"),
        ]
    )[1:]
    assert [line[11:].split() for line in drawn] == [
        ["#", "FAULT:", "'crash", "1'"],
        ["?", "dead", "letter:", "('stopped',", "3)"],
        ["?", "late", "reply:", "4"],
        ["@", "#9", "to", "itself:", "'again'"],
    ]


def test_of_a_long_history_the_middle_is_left_out():
    events = [event("start", target=f"/{n % 3}", what=n) for n in range(1000)]
    drawn = lines(events)
    assert len(drawn) == MOST_LINES + 1
    gap = next(index for index, line in enumerate(drawn) if "left out" in line)
    assert "941 events are left out" in drawn[gap]
    assert drawn[gap - 1].endswith(f"starts: {gap - 2}")
    assert drawn[gap + 1].endswith(f"starts: {1000 - (len(drawn) - gap - 1)}")
    assert drawn[-1].endswith("starts: 999")
    assert len(drawn) - gap > 2 * gap, "the end matters most"


def test_the_chart_of_a_history_of_any_length_is_drawn_at_once():
    class Long:
        looked_at = 0

        def __len__(self):
            return 10**9

        def __getitem__(self, index):
            self.looked_at += 1
            kind = "handle" if index % 2 else "send"
            return event(kind, "/a", "/b", index // 2 + 1, index)

    history = Long()
    drawn = lines(history)
    assert history.looked_at < 10 * MOST_LINES
    assert len(drawn) == MOST_LINES + 1
    shown = 2 * (MOST_LINES - 1)
    assert f"... {10**9 - shown} events are left out" in drawn[16]
    assert "#500000000" in drawn[-1]


@pytest.mark.parametrize("count", [1, 2, 59, 60, 61, 119, 120, 121, 239, 240, 241, 242, 300])
def test_every_event_is_shown_or_counted(count):
    drawn = lines([event("start", what=n) for n in range(count)])
    left_out = [int(line.split()[1]) for line in drawn if "left out" in line]
    assert len(drawn) - 1 - len(left_out) + sum(left_out) == count
    assert len(drawn) == min(count, MOST_LINES) + 1
    assert drawn[-1].endswith(f": {count - 1}")


def test_of_many_actors_those_of_the_end_have_columns_and_the_others_share_one():
    events = [event("start", target=f"/{n}") for n in range(20)]
    drawn = lines(events)
    assert drawn[0].split() == [*(f"/{n}" for n in range(13, 20)), "(others)"]
    assert all(f"/{n} starts" in drawn[n + 1] for n in range(13)), "they are named in their rows"
    assert all(len(line) < 160 for line in drawn)


def test_long_names_are_shortened_and_explained_and_stay_apart():
    names = [f"/a-team-with-a-long-name/{n}-and-the-same-end-of-it" for n in range(3)]
    explained, head, *_ = lines([event("start", target=name) for name in names] * 2)
    shown = head.split()
    assert len(set(shown)) == 3
    assert all(f"{short} is {name}" in explained for short, name in zip(shown, names, strict=True))


def test_long_messages_are_shortened():
    assert max(map(len, lines([event("start", what="x" * 500)]))) < 120


def test_what_holds_a_set_has_one_text_whatever_the_order_of_the_set():
    one, other = {0, 8}, {8, 0}
    assert repr(one) != repr(other), "they are in the way of each other"
    for held in (
        lambda numbers: functools.partial(sorted, numbers, key=numbers),
        lambda numbers: deque([numbers]),
        lambda numbers: [{"numbers": (numbers,)}],
        ValueError,
    ):
        assert canonical(held(one)) == canonical(held(other))
    partial = functools.partial(sorted, one, reverse=True)
    assert canonical(partial) == "partial(<built-in function sorted>, set(0, 8), reverse=True)"
    assert canonical(deque([one])) == "deque([set(0, 8)])"
