"""What a failed request tells: where it was raised, where it was waited for, and by which actors."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import traceback

import pytest

from actors import Actor, ActorDeadError, ActorSystem


class Shelf(Actor):
    """Fails on the pool."""

    def on_receive(self, message):
        raise LookupError("no such book")


class AsyncShelf(Actor):
    """Fails on a loop, after it was suspended."""

    async def on_receive(self, message):
        await asyncio.sleep(0)
        raise LookupError("no such book")


class Desk(Actor):
    def __init__(self, shelf):
        self.shelf = shelf

    def on_receive(self, message):
        return self.shelf.ask(message)  # the desk's line


class AsyncDesk(Actor):
    def __init__(self, shelf):
        self.shelf = shelf

    async def on_receive(self, message):
        return await self.shelf.request(message)  # the desk's line


def shown(error):
    """The source lines and the notes of a traceback, outermost first, without the runtime's own."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == __file__
    ]
    # In development mode there are more.
    notes = [note for note in error.__notes__ if not note.startswith("requested of")]
    return [frame.line for frame in frames], notes


@pytest.fixture(params=[Shelf, AsyncShelf])
def shelf(request, system):
    return system.spawn(request.param, name="shelf")


def raise_line():
    return 'raise LookupError("no such book")'


def test_asking_shows_the_askers_line_and_the_handlers(shelf):
    with pytest.raises(LookupError) as caught:
        shelf.ask("a book")  # the asker's line
    lines, notes = shown(caught.value)
    assert lines == ['shelf.ask("a book")  # the asker\'s line', raise_line()]
    assert notes == ["while /shelf handled str"]


def test_getting_shows_the_line_of_the_one_who_gets(shelf):
    future = shelf.request("a book")
    with pytest.raises(LookupError) as caught:
        future.get(timeout=20)
    assert shown(caught.value)[0] == ["future.get(timeout=20)", raise_line()]


@pytest.mark.parametrize("kind", [Shelf, AsyncShelf])
async def test_awaiting_shows_the_line_of_the_one_who_awaits(kind):
    async with ActorSystem() as system:
        shelf = system.spawn(kind, name="shelf")
        for _ in range(2):  # the second time, the loop has time to lend
            with pytest.raises(LookupError) as caught:
                await shelf.request("a book")
            assert shown(caught.value)[0] == ['await shelf.request("a book")', raise_line()]


async def test_gathering_shows_the_line_of_the_one_who_gathers():
    async with ActorSystem() as system:
        shelves = [system.spawn(kind) for kind in (Shelf, AsyncShelf)]
        with pytest.raises(LookupError) as caught:
            await asyncio.gather(*(shelf.request("a book") for shelf in shelves))
        lines, _ = shown(caught.value)
        assert lines[0].startswith("await asyncio.gather(")
        assert lines[-1] == raise_line()


@pytest.mark.parametrize("desk", [Desk, AsyncDesk])
def test_through_two_actors_both_senders_are_shown(system, shelf, desk):
    """Whatever they run on: both on the pool, both on the loop, or one on each."""
    desk = system.spawn(desk, shelf, name="desk")
    for _ in range(3):
        with pytest.raises(LookupError) as caught:
            desk.ask("a book")
        lines, notes = shown(caught.value)
        assert lines[0] == 'desk.ask("a book")'
        assert lines[1].endswith("# the desk's line")
        assert lines[2] == raise_line()
        assert notes == ["while /shelf handled str", "while /desk handled str"]


def test_a_traceback_does_not_grow_however_often_it_is_raised(shelf):
    future = shelf.request("a book")
    sizes = set()
    for _ in range(5):
        with pytest.raises(LookupError) as caught:
            future.get(timeout=20)
        sizes.add((len(traceback.extract_tb(caught.value.__traceback__)), *shown(caught.value)[1]))
    assert len(sizes) == 1


def test_an_exception_that_is_raised_again_and_again_does_not_collect_notes_for_ever(system):
    class Raises(Actor):
        def on_receive(self, message):
            raise error

    error = ValueError("the only one")
    for _ in range(50):
        with pytest.raises(ValueError, match="the only one"):
            system.spawn(Raises).ask(1)
    assert len(error.__notes__) == 20


def test_a_failure_is_the_cause_of_the_death_that_others_hear_of(system):
    class Fragile(Actor):
        def on_receive(self, message):
            if message == "crash":
                raise LookupError("no such book")
            self.reply_later()

    fragile = system.spawn(Fragile)
    owed = fragile.request("a book")
    fragile.tell("crash")
    with pytest.raises(ActorDeadError) as caught:
        owed.get(timeout=20)
    cause = caught.value.__cause__
    assert isinstance(cause, LookupError)
    assert traceback.extract_tb(cause.__traceback__)[-1].line == raise_line()


@pytest.mark.slow
def test_in_development_mode_it_is_told_where_the_request_was_sent():
    code = """
        from actors import Actor, ActorSystem

        class Shelf(Actor):
            def on_receive(self, message):
                raise LookupError("no such book")

        def order(shelf):
            return shelf.request("a book")

        def proxied(shelf):
            return shelf.proxy().on_receive("a book")

        with ActorSystem() as system:
            shelf = system.spawn(Shelf, name="shelf")
            for future in (order(shelf), proxied(shelf)):
                for _ in range(2):
                    try:
                        future.get()
                    except LookupError as error:
                        print(*error.__notes__, sep="; ")
    """
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    requested = "while /shelf handled str; requested of /shelf at <string>:9 in order\n"
    proxied = "while /shelf handled ProxyCall; requested of /shelf at <string>:12 in proxied\n"
    assert done.stdout == 2 * requested + 2 * proxied, done.stderr
