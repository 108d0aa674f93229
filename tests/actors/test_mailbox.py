from __future__ import annotations

import threading
from collections import deque

import pytest

from actors import (
    Actor,
    ActorDeadError,
    Bounded,
    ChildSpec,
    DeadLetter,
    InvalidOption,
    MailboxFull,
    RequestCancelled,
    Unbounded,
    WouldBlockLoop,
)
from actors._mailbox import Mailbox, Tally

# -- options ---------------------------------------------------------------------------------


@pytest.mark.parametrize("capacity", [0, -1, 1.5, "10", None, True])
def test_a_capacity_must_be_a_whole_number_above_zero(capacity):
    with pytest.raises(InvalidOption, match="capacity"):
        Bounded(capacity)


def test_an_unknown_overflow_policy_is_refused_with_the_known_ones():
    with pytest.raises(InvalidOption, match="reject, drop_new, drop_old, block") as caught:
        Bounded(1, "drop_some")
    assert caught.value.option == "overflow"
    assert caught.value.value == "drop_some"


def test_a_bounded_mailbox_rejects_unless_told_otherwise():
    assert Bounded(1).overflow == "reject"


def test_a_tally_counts_what_many_threads_add():
    tally = Tally()
    threads = [
        threading.Thread(target=lambda: [tally.add() for _ in range(10_000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.value == 40_000
    assert tally.value == 40_000, "reading it does not count"


# -- the hand-over between senders and the reader, without threads -----------------------------


class Turns:
    """A dispatcher that only remembers whom it was asked to run."""

    inline = False
    awaits = False

    def __init__(self):
        self.ready = []
        self.submit = self.ready.append


def a_mailbox(options=None):
    turns = Turns()
    return Mailbox(turns, options, Tally()), turns


def test_the_first_message_schedules_the_mailbox_and_the_next_ones_do_not():
    mailbox, turns = a_mailbox()
    for n in range(3):
        mailbox.put(n)
    assert turns.ready == [mailbox]


def test_a_reader_that_leaves_messages_behind_is_scheduled_again():
    mailbox, turns = a_mailbox()
    mailbox.put(1)
    mailbox.put(2)
    mailbox.queue.popleft()
    mailbox.release()
    assert turns.ready == [mailbox, mailbox]


def test_a_message_that_arrives_while_the_reader_goes_idle_is_not_overlooked():
    mailbox, turns = a_mailbox()
    mailbox.put(1)
    mailbox.queue.popleft()

    class Late(dict):
        """The permit: at the moment it is given back, a sender is between its two steps."""

        def __setitem__(self, key, value):
            mailbox.queue.append(2)
            super().__setitem__(key, value)

    mailbox.permit = Late()
    mailbox.release()
    assert turns.ready == [mailbox, mailbox]


def test_an_order_schedules_the_mailbox_and_changes_its_pulse():
    mailbox, turns = a_mailbox()
    before = mailbox.pulse
    mailbox.post("operation", 1)
    assert turns.ready == [mailbox]
    assert mailbox.pulse is not before


def test_an_order_that_cannot_wait_comes_before_the_others():
    mailbox, _ = a_mailbox()
    mailbox.post("second")
    mailbox.post_first("first")
    assert [operation for operation, _ in mailbox.control] == ["first", "second"]


def test_a_sender_that_found_room_at_the_last_moment_leaves_no_call_for_itself_behind():
    mailbox, _ = a_mailbox(Bounded(1, "block"))
    mailbox.put("first")

    class Registered(deque):
        def append(self, item):
            super().append(item)
            mailbox.queue.clear()  # the reader, between the sender's look and its next one

    mailbox.bounds.waiting = Registered()
    mailbox.put("second")
    assert list(mailbox.queue) == ["second"]
    assert not mailbox.bounds.waiting


# -- on the live runtime -----------------------------------------------------------------------


class Gate(Actor):
    """Handles nothing until its gate is open, and remembers what it handled."""

    def __init__(self, gate):
        self.gate = gate
        self.seen = []

    def on_receive(self, message):
        if message == "wait":
            self.entered.set()
            self.gate.wait(20)
            return None
        if message == "seen":
            return list(self.seen)
        self.seen.append(message)
        return message

    entered = None


def a_busy_actor(system, mailbox, **options):
    """An actor inside a handler that waits for the gate; its mailbox is empty."""
    gate = threading.Event()

    class Busy(Gate):
        entered = threading.Event()

    ref = system.spawn(ChildSpec(Busy, (gate,), mailbox=mailbox, **options))
    ref.tell("wait")
    assert Busy.entered.wait(20)
    return ref, gate


def test_an_unbounded_mailbox_takes_everything(system):
    ref, gate = a_busy_actor(system, Unbounded())
    for n in range(20_000):
        ref.tell(n)
    gate.set()
    assert ref.ask("seen") == list(range(20_000))


def test_a_full_mailbox_that_rejects_gives_the_message_back(system, settled):
    ref, gate = a_busy_actor(system, Bounded(2))
    ref.tell("a")
    ref.tell("b")
    with pytest.raises(MailboxFull, match="holds 2 messages") as caught:
        ref.tell(("c", "tuple"))
    assert caught.value.undelivered == ("c", "tuple")
    assert caught.value.capacity == 2
    assert caught.value.actor == ref.path
    gate.set()
    settled(system)
    assert ref.ask("seen") == ["a", "b"]


def test_a_request_to_a_full_mailbox_that_rejects_is_answered_with_the_error(system):
    ref, gate = a_busy_actor(system, Bounded(1))
    ref.tell("a")
    future = ref.request("b")
    with pytest.raises(MailboxFull):
        future.get(timeout=20)
    gate.set()


def test_what_was_rejected_was_not_sent(system, settled):
    ref, gate = a_busy_actor(system, Bounded(1))
    ref.tell("a")
    for _ in range(5):
        with pytest.raises(MailboxFull):
            ref.tell("b")
    gate.set()
    stats = settled(system)
    assert (stats.sent, stats.handled, stats.dead) == (2, 2, 0)


def test_drop_new_keeps_what_waits_and_publishes_what_came(system, settled):
    letters = []
    system.events.subscribe(letters.append, DeadLetter)
    ref, gate = a_busy_actor(system, Bounded(2, "drop_new"))
    for n in range(4):
        ref.tell(n)
    assert [(letter.message, letter.kind) for letter in letters] == [(2, "dropped"), (3, "dropped")]
    gate.set()
    stats = settled(system)
    assert ref.ask("seen") == [0, 1]
    assert (stats.sent, stats.handled, stats.dead) == (5, 3, 2)


def test_drop_old_keeps_the_newest_and_publishes_the_oldest(system, settled):
    letters = []
    system.events.subscribe(letters.append, DeadLetter)
    ref, gate = a_busy_actor(system, Bounded(2, "drop_old"))
    for n in range(4):
        ref.tell(n)
    assert [(letter.message, letter.kind) for letter in letters] == [(0, "dropped"), (1, "dropped")]
    gate.set()
    stats = settled(system)
    assert ref.ask("seen") == [2, 3]
    assert (stats.sent, stats.handled, stats.dead) == (5, 3, 2)


@pytest.mark.parametrize("overflow", ["drop_new", "drop_old"])
def test_a_request_that_is_dropped_is_answered(system, overflow):
    ref, gate = a_busy_actor(system, Bounded(1, overflow))
    first, second = ref.request("first"), ref.request("second")
    with pytest.raises(RequestCancelled, match="dropped the request"):
        (second if overflow == "drop_new" else first).get(timeout=20)
    gate.set()
    assert (first if overflow == "drop_new" else second).get(timeout=20)


def test_an_order_to_stop_cannot_be_pushed_out_of_a_full_mailbox(system):
    ref, gate = a_busy_actor(system, Bounded(2, "drop_old"))
    stopping = ref.stop(block=False)
    for n in range(10):
        ref.tell(n)
    gate.set()
    assert stopping.get(timeout=20) is True
    assert not ref.is_alive()


def test_the_control_lane_of_a_full_mailbox_is_open(system):
    ref, gate = a_busy_actor(system, Bounded(1))
    ref.tell("a")
    stopping = ref.stop(block=False, drain=False)
    gate.set()
    assert stopping.get(timeout=20) is True


def test_senders_to_a_full_mailbox_that_blocks_wait_for_room(system):
    ref, gate = a_busy_actor(system, Bounded(1, "block"))
    senders = [
        threading.Thread(target=lambda n=n: [ref.tell((n, i)) for i in range(20)]) for n in range(6)
    ]
    for sender in senders:
        sender.start()
    gate.set()
    for sender in senders:
        sender.join(20)
        assert not sender.is_alive(), "a sender sleeps on although there is room"
    seen = ref.ask("seen")
    assert len(seen) == 120
    for n in range(6):
        assert [i for sender, i in seen if sender == n] == list(range(20))


def blocked_senders(ref, eventually, count):
    failures = []

    def send(n):
        try:
            ref.tell(n)
        except ActorDeadError:
            failures.append(n)

    senders = [threading.Thread(target=send, args=(n,)) for n in range(count)]
    for sender in senders:
        sender.start()
    eventually(lambda: len(ref._cell.bounds.waiting) == count, "all senders wait")
    return senders


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_senders_that_wait_for_room_are_let_go_when_the_actor_dies(system, eventually, end):
    ref, gate = a_busy_actor(system, Bounded(1, "block"), restart="temporary")
    ref.tell("fills it")
    senders = blocked_senders(ref, eventually, 5)
    if end == "stop":
        stopping = ref.stop(block=False, drain=False)
        gate.set()
        stopping.get(timeout=20)
    else:
        ref.kill()  # the handler does not return, so it is abandoned
    for sender in senders:
        sender.join(20)
        assert not sender.is_alive(), "a sender waits for room in a dead mailbox"
    gate.set()


def test_senders_that_wait_for_room_are_let_go_when_the_actor_is_abandoned(system, eventually):
    ref, gate = a_busy_actor(system, Bounded(1, "block"))
    ref.tell("fills it")
    senders = blocked_senders(ref, eventually, 5)
    ref.kill()
    for sender in senders:
        sender.join(20)
        assert not sender.is_alive(), "a sender waits for room in an abandoned mailbox"
    gate.set()


def test_a_handler_that_waits_for_room_holds_up_no_other_actor(system):
    ref, gate = a_busy_actor(system, Bounded(1, "block"))
    ref.tell("fills it")

    class Sender(Actor):
        def on_receive(self, message):
            ref.tell(message)

    class Opener(Actor):
        def on_receive(self, message):
            gate.set()

    system.spawn(Sender).tell("more")
    system.spawn(Opener).tell("open")
    assert gate.wait(20)


async def test_a_full_mailbox_does_not_block_an_event_loop(system):
    ref, gate = a_busy_actor(system, Bounded(1, "block"))
    ref.tell("fills it")
    with pytest.raises(WouldBlockLoop):
        ref.tell("more")
    gate.set()


def test_something_else_than_a_mailbox_is_refused(system):
    with pytest.raises(InvalidOption, match="mailbox=10"):
        system.spawn(ChildSpec(Actor, mailbox=10))


def test_a_mailbox_may_be_given_by_the_class(system):
    class Small(Gate):
        mailbox = Bounded(1)
        entered = threading.Event()

    gate = threading.Event()
    ref = system.spawn(Small, gate)
    ref.tell("wait")
    assert Small.entered.wait(20)
    ref.tell(1)
    with pytest.raises(MailboxFull):
        ref.tell(2)
    gate.set()


def test_a_subscriber_that_loses_dead_letters_is_not_told_of_that_for_ever(system, settled):
    subscriber, gate = a_busy_actor(system, Bounded(1, "drop_new"))
    system.events.subscribe(subscriber, DeadLetter)
    ref, other = a_busy_actor(system, Bounded(1, "drop_new"))
    for n in range(10):
        ref.tell(n)
    gate.set()
    other.set()
    assert settled(system).dead == 9 + 8, "nine dropped, and eight of the events about them"
