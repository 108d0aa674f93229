from __future__ import annotations

import asyncio
import threading

import pytest

from actors import (
    Actor,
    ActorDeadError,
    CallboardError,
    ChildSpec,
    DeadLetter,
    InvalidOption,
    NameTaken,
    NoReplyExpected,
    StashOverflow,
    SystemStopped,
    Terminated,
    UnexpectedCoroutine,
    current_actor,
)


class Sync(Actor):
    """Runs the function that it is sent, with itself as the argument."""

    def on_receive(self, message):
        return message(self)


class Async(Actor):
    async def on_receive(self, message):
        await asyncio.sleep(0)
        return message(self)


@pytest.fixture(params=[Sync, Async])
def kind(request):
    return request.param


# -- hooks -----------------------------------------------------------------------------------------


def test_a_hook_may_be_async_while_the_others_are_not(system):
    log = []

    class Mixed(Actor):
        async def on_start(self):
            await asyncio.sleep(0)
            log.append("started")

        def on_receive(self, message):
            log.append(message)
            return message

        async def on_stop(self):
            await asyncio.sleep(0)
            log.append("stopped")

    ref = system.spawn(Mixed)
    assert ref.ask("hello") == "hello"
    ref.stop()
    assert log == ["started", "hello", "stopped"]


def test_a_sync_hook_that_returns_a_coroutine_is_an_error(system):
    async def work():
        pass

    failures = []
    done = threading.Event()

    class Confused(Actor):
        def on_start(self):
            return work()

        def on_failure(self, kind, value, traceback):
            failures.append(kind)
            done.set()

    system.spawn(ChildSpec(Confused, restart="temporary"))
    assert done.wait(20)
    assert failures == [UnexpectedCoroutine]


def test_an_actor_with_async_hooks_cannot_be_placed_on_a_thread(system):
    for dispatcher in ("pool", "pinned"):
        with pytest.raises(InvalidOption, match="async hooks"):
            system.spawn(ChildSpec(Async, dispatcher=dispatcher))


def test_an_unhandled_message_is_no_failure(system):
    assert system.spawn(Actor).ask("what now") is None


def test_an_actor_constructed_directly_says_how_to_start_it():
    for use in (lambda a: a.actor_ref, lambda a: a.spawn(Sync), lambda a: a.stop()):
        with pytest.raises(CallboardError, match="constructed directly"):
            use(Sync())
    assert "not started" in str(Sync())


def test_the_constructor_may_use_what_hooks_may(system):
    log = []
    done = threading.Event()

    class Eager(Actor):
        def __init__(self, dead):
            log.append(self.actor_ref.name)
            self.child = self.spawn(Sync, name="child")
            self.timers.start("t", "tick", after=0)
            self.watch(dead)

        def on_start(self):
            log.append("started")

        def on_receive(self, message):
            log.append(message)
            if len(log) == 4:
                done.set()

    dead = system.spawn(Sync)
    dead.stop()
    system.spawn(Eager, dead, name="eager")
    assert done.wait(20)
    assert log[:2] == ["eager", "started"], "on_start comes before any message"
    assert set(log[2:]) == {"tick", Terminated(dead, "stopped")}
    assert system.find("/eager/child") is not None


# -- names and children ------------------------------------------------------------------------------


def test_names_are_unique_among_living_siblings_only(system):
    first = system.spawn(Sync, name="one")
    with pytest.raises(NameTaken, match="'one'") as caught:
        system.spawn(Sync, name="one")
    assert caught.value.name == "one"
    system.spawn(Sync, name="two").ask(lambda me: me.spawn(Sync, name="one") and None)
    first.stop()
    assert system.spawn(Sync, name="one") != first


def test_the_name_of_the_services_branch_is_taken(system):
    with pytest.raises(NameTaken):
        system.spawn(Sync, name="system")


def test_generated_names_are_unique_and_can_be_found(system):
    refs = [system.spawn(Sync) for _ in range(20)]
    assert len({ref.name for ref in refs}) == 20
    assert all(system.find(ref.path) == ref for ref in refs)


@pytest.mark.parametrize("what", [int, Sync(), "Sync", None])
def test_only_actors_are_spawned(system, what):
    with pytest.raises(InvalidOption):
        system.spawn(what)


def test_a_specification_is_spawned_without_further_arguments(system):
    spec = ChildSpec(Sync, name="one")
    assert system.spawn(spec).name == "one"
    for arguments in ({"name": "two"}, {"more": 1}):
        with pytest.raises(InvalidOption, match="ChildSpec alone"):
            system.spawn(spec, **arguments)
    with pytest.raises(InvalidOption):
        system.spawn(spec, 1)


def test_children_are_listed_in_start_order_while_they_live(system, kind):
    ref = system.spawn(kind, name="p")
    for name in "cab":
        ref.ask(lambda me, name=name: me.spawn(Sync, name=name) and None)
    assert ref.ask(lambda me: [c.name for c in me.children]) == ["c", "a", "b"]
    system.find("/p/a").stop()
    assert ref.ask(lambda me: [c.name for c in me.children]) == ["c", "b"]
    assert [child.path for child in system.tree().children[0].children] == ["/p/c", "/p/b"]


def test_a_stopping_actor_starts_no_children(system, kind):
    errors = []

    class Late(kind):
        def on_stop(self):
            try:
                self.spawn(Sync)
            except SystemStopped as error:
                errors.append(error)

    system.spawn(Late).stop()
    assert len(errors) == 1


def test_current_actor_is_the_one_whose_code_runs(system, kind):
    ref, other = system.spawn(kind), system.spawn(Sync)
    assert current_actor() is None
    assert ref.ask(lambda me: current_actor()) == ref
    if kind is Sync:
        nested = ref.ask(
            lambda me: (current_actor(), other.ask(lambda me: current_actor()), current_actor())
        )
        assert nested == (ref, other, ref)
    assert current_actor() is None


# -- replies taken over --------------------------------------------------------------------------------


def test_a_reply_taken_over_is_given_later(system, kind):
    ref = system.spawn(kind)
    taken = []
    future = ref.request(lambda me: taken.append(me.reply_later()) or "ignored")
    assert ref.ask(lambda me: "meanwhile") == "meanwhile"
    assert not future.done()
    taken[0].set("later")
    assert future.get(timeout=20) == "later"


def test_a_told_message_has_no_reply_to_take_over(system, kind):
    ref = system.spawn(kind)
    errors = []
    done = threading.Event()

    def take(me):
        try:
            me.reply_later()
        except NoReplyExpected as error:
            errors.append(error)
        done.set()

    ref.tell(take)
    assert done.wait(20)
    assert len(errors) == 1


def test_a_reply_is_taken_over_once(system, kind):
    def twice(me):
        first = me.reply_later()
        with pytest.raises(NoReplyExpected):
            me.reply_later()
        first.set("once")

    assert system.spawn(kind).ask(twice) == "once"


@pytest.mark.parametrize("end", ["stop", "crash", "kill"])
def test_a_reply_owed_by_an_actor_that_ends_is_answered(system, kind, end):
    ref = system.spawn(kind)
    future = ref.request(lambda me: me.reply_later() and None)
    ref.ask(lambda me: None)
    match end:
        case "stop":
            ref.stop()
        case "crash":
            ref.tell("not a function")
        case _:
            ref.kill()
    with pytest.raises(ActorDeadError, match="owed"):
        future.get(timeout=20)


def test_a_handler_that_raises_after_it_took_the_reply_over_has_answered(system, kind):
    def fail(me):
        me.reply_later()
        raise KeyError("k")

    with pytest.raises(KeyError):
        system.spawn(kind).request(fail).get(timeout=20)


# -- stash -----------------------------------------------------------------------------------------------


class Stasher(Actor):
    stash_capacity = 3

    def __init__(self):
        self.ready = False
        self.seen = []

    def on_receive(self, message):
        match message:
            case "open":
                self.ready = True
                self.unstash_all()
            case "seen":
                return list(self.seen)
            case Terminated():
                self.stash()
            case _ if not self.ready:
                self.stash()
            case _:
                self.seen.append(message)
                return f"handled {message}"
        return None


def test_stashed_messages_come_back_in_order_before_the_others(system, settled):
    ref = system.spawn(Stasher)
    asked = ref.request(1)
    ref.tell(2)
    ref.tell((3, "tuple"))
    ref.tell("open")
    ref.tell(4)
    assert ref.ask("seen") == [1, 2, (3, "tuple"), 4]
    assert asked.get(timeout=20) == "handled 1", "the sender goes on waiting"
    stats = settled(system)
    assert stats.sent == stats.handled == 6 + 3, "each stashed message was handled twice"


def test_a_full_stash_refuses_one_more(system):
    ref = system.spawn(Stasher)
    futures = [ref.request(n) for n in range(4)]
    with pytest.raises(StashOverflow, match="holds 3"):
        futures[3].get(timeout=20)
    ref.tell("open")
    assert futures[0].get(timeout=20) == "handled 0"


def test_what_is_stashed_outlives_a_restart(system):
    ref = system.spawn(Stasher)
    asked = ref.request(1)
    ref.ask("seen")
    ref.kill()
    ref.tell("open")
    # It waits in the mailbox again, and the new instance stashes it again.
    assert asked.get(timeout=20) == "handled 1"


def test_what_is_stashed_is_answered_when_the_actor_dies(system, settled):
    letters = []
    system.events.subscribe(letters.append, DeadLetter)
    ref = system.spawn(Stasher)
    asked = ref.request(1)
    ref.tell(2)
    ref.stop()
    with pytest.raises(ActorDeadError):
        asked.get(timeout=20)
    assert sorted(letter.message for letter in letters) == [1, 2]
    settled(system)


def test_a_signal_that_is_stashed_is_that_signal_and_not_the_message_before(system):
    watched = system.spawn(Sync)
    watched.stop()

    class Sees(Stasher):
        def on_receive(self, message):
            match message:
                case "watch":
                    self.watch(watched)
                case Terminated() if not self.ready:
                    self.stash()
                    done.set()
                case "open":
                    self.ready = True
                    self.unstash_all()
                case "seen":
                    return list(self.seen)
                case _:
                    self.seen.append(message)
            return None

    done = threading.Event()
    ref = system.spawn(Sees)
    ref.tell("before")
    ref.tell("watch")
    assert done.wait(20)
    ref.tell("open")
    assert ref.ask("seen") == ["before", Terminated(watched, "stopped")]


def test_there_is_nothing_to_stash_outside_of_a_message(system):
    errors = []

    class Early(Actor):
        def on_start(self):
            try:
                self.stash()
            except NoReplyExpected as error:
                errors.append(error)

    system.spawn(Early).ask("is started")
    assert len(errors) == 1


def test_the_message_that_failed_cannot_be_stashed_by_the_last_hook(system):
    errors = []
    done = threading.Event()

    class Clinging(Actor):
        def on_receive(self, message):
            raise ValueError(message)

        def on_failure(self, kind, value, traceback):
            try:
                self.stash()
            except NoReplyExpected as error:
                errors.append(error)
            done.set()

    system.spawn(ChildSpec(Clinging, restart="temporary")).tell("poison")
    assert done.wait(20)
    assert len(errors) == 1


# -- timers ------------------------------------------------------------------------------------------------


class Timed(Actor):
    def __init__(self):
        self.seen = []
        self.arrived = threading.Event()

    def on_receive(self, message):
        if callable(message):
            return message(self)
        self.seen.append(message)
        self.arrived.set()
        return None


class TimedOnLoop(Timed):
    async def on_receive(self, message):
        return super().on_receive(message)


@pytest.fixture(params=[Timed, TimedOnLoop])
def timed(request, system):
    return system.spawn(request.param)


def test_a_timer_sends_its_message_once(timed):
    arrived = timed.ask(lambda me: me.arrived)
    timed.ask(lambda me: me.timers.start("t", "tick", after=0.001))
    assert arrived.wait(20)
    assert timed.ask(lambda me: me.seen) == ["tick"]
    assert timed.ask(lambda me: me.timers.is_active("t")) is False


def test_a_timer_replaces_the_one_of_the_same_key(timed):
    arrived = timed.ask(lambda me: me.arrived)

    def both(me):
        me.timers.start("t", "old", after=0)
        me.timers.start("t", "new", after=0.001)

    timed.ask(both)
    assert arrived.wait(20)
    assert timed.ask(lambda me: me.seen) == ["new"]


def test_a_cancelled_timer_does_not_deliver_even_what_is_queued(system, timed):
    def start_and_wait_until_it_is_queued(me):
        me.timers.start("t", "tick", after=0)
        queued = threading.Event()
        system.timers.call_later(0.005, queued.set)
        assert queued.wait(20)
        me.timers.cancel("t")

    timed.ask(start_and_wait_until_it_is_queued)
    assert timed.ask(lambda me: me.seen) == []
    timed.ask(lambda me: me.timers.cancel("unknown"))


def test_a_repeated_timer_goes_on_until_it_is_cancelled(timed):
    def until_three(me):
        done = threading.Event()

        class Counter(list):
            def append(self, item):
                super().append(item)
                if len(self) == 3:
                    me.timers.cancel("t")
                    done.set()

        me.seen = Counter()
        me.timers.start("t", "tick", after=0.001, every=True)
        return done

    assert timed.ask(until_three).wait(20)
    assert timed.ask(lambda me: me.timers.is_active("t")) is False
    assert timed.ask(lambda me: list(me.seen)) == ["tick"] * 3


def test_timers_die_with_their_instance(system, timed):
    timed.ask(lambda me: me.timers.start("t", "tick", after=0.02))
    timed.kill()
    passed = threading.Event()
    system.timers.call_later(0.04, passed.set)
    assert passed.wait(20)
    assert timed.ask(lambda me: (me.seen, me.timers.is_active("t"))) == ([], False)


@pytest.mark.parametrize("after", [-1, "soon", None, True, float("nan")])
def test_a_timer_needs_a_number_of_seconds(timed, after):
    with pytest.raises(InvalidOption, match="after"):
        timed.ask(lambda me: me.timers.start("t", "tick", after=after))


# -- watching ------------------------------------------------------------------------------------------------


class Watcher(Actor):
    def __init__(self):
        self.heard = []
        self.arrived = threading.Semaphore(0)

    def on_receive(self, message):
        if isinstance(message, Terminated):
            self.heard.append(message)
            self.arrived.release()
            return None
        return message(self)


class WatcherOnLoop(Watcher):
    async def on_receive(self, message):
        await asyncio.sleep(0)
        return super().on_receive(message)


@pytest.fixture(params=[Watcher, WatcherOnLoop])
def watcher(request, system):
    return system.spawn(request.param)


def test_a_watcher_hears_once_that_an_actor_is_dead(system, watcher):
    ref = system.spawn(Sync)
    arrived = watcher.ask(lambda me: me.arrived)
    watcher.ask(lambda me: me.watch(ref))
    ref.stop()
    assert arrived.acquire(timeout=20)
    assert watcher.ask(lambda me: me.heard) == [Terminated(ref, "stopped")]


def test_a_watcher_of_a_dead_actor_hears_at_once(system, watcher):
    ref = system.spawn(Sync)
    ref.stop()
    arrived = watcher.ask(lambda me: me.arrived)
    watcher.ask(lambda me: me.watch(ref))
    assert arrived.acquire(timeout=20)
    assert watcher.ask(lambda me: me.heard) == [Terminated(ref, "stopped")]


def test_watching_twice_still_delivers_once(system, watcher):
    ref = system.spawn(Sync)
    arrived = watcher.ask(lambda me: me.arrived)
    for _ in range(2):
        watcher.ask(lambda me: me.watch(ref))
    ref.stop()
    assert arrived.acquire(timeout=20)
    assert len(watcher.ask(lambda me: me.heard)) == 1


def test_unwatching_voids_even_what_is_queued(system):
    """On a thread, where the handler can wait until the signal is in its mailbox."""
    ref, watcher = system.spawn(Sync), system.spawn(Watcher)
    watcher.ask(lambda me: me.watch(ref))

    def end_and_unwatch(me):
        ref.stop()
        me.unwatch(ref)

    watcher.ask(end_and_unwatch)
    assert watcher.ask(lambda me: me.heard) == []


def test_a_restart_is_no_end(system, watcher):
    ref = system.spawn(Sync)
    arrived = watcher.ask(lambda me: me.arrived)
    watcher.ask(lambda me: me.watch(ref))
    ref.tell("crash")
    assert ref.ask(lambda me: "back") == "back"
    assert watcher.ask(lambda me: me.heard) == []
    ref.stop()
    assert arrived.acquire(timeout=20)


@pytest.mark.parametrize("end", ["failure", "kill"])
def test_the_reason_tells_how_it_ended(system, watcher, end):
    ref = system.spawn(ChildSpec(Sync, restart="temporary"))
    arrived = watcher.ask(lambda me: me.arrived)
    watcher.ask(lambda me: me.watch(ref))
    ref.ask(lambda me: None)
    if end == "kill":
        ref.kill()
    else:
        ref.tell("not callable")
    assert arrived.acquire(timeout=20)
    (heard,) = watcher.ask(lambda me: me.heard)
    assert heard.ref == ref
    assert heard.reason == "killed" if end == "kill" else isinstance(heard.reason, TypeError)


def test_a_restarted_watcher_no_longer_watches(system, watcher):
    ref = system.spawn(Sync)
    watcher.ask(lambda me: me.watch(ref))
    watcher.tell("crash")
    arrived = watcher.ask(lambda me: me.arrived)
    ref.stop()
    other = system.spawn(Sync)
    other.stop()
    watcher.ask(lambda me: me.watch(other))
    assert arrived.acquire(timeout=20)
    assert [heard.ref for heard in watcher.ask(lambda me: me.heard)] == [other]
