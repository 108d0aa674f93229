"""What pykka's documentation promises, held by pykka's own actors and by ours alike."""

from __future__ import annotations

import threading

import pykka
import pytest

import actors


@pytest.fixture(params=[pykka.ThreadingActor, actors.Actor], ids=["pykka", "ours"])
def base(request):
    yield request.param
    pykka.ActorRegistry.stop_all(timeout=20)


class Log(list):
    def __init__(self):
        super().__init__()
        self._changed = threading.Condition()

    def append(self, item):
        with self._changed:
            super().append(item)
            self._changed.notify_all()

    def wait_for(self, item):
        with self._changed:
            assert self._changed.wait_for(lambda: item in self, 20), (item, list(self))


class Part:
    """Something inside of an actor that proxies may reach through."""

    def __init__(self):
        self.pykka_traversable = True
        self.number = 7
        self.hidden = object()

    def double(self, n):
        return 2 * n


@pytest.fixture
def kind(base):
    class Kind(base):
        attribute = "class attribute"

        def __init__(self, log=None):
            super().__init__()
            self.log = log if log is not None else Log()
            self.cat = "before"
            self.part = pykka.traversable(Part())
            self._private = 1

        def on_start(self):
            self.log.append("on_start")

        def on_stop(self):
            self.log.append("on_stop")

        def on_failure(self, exception_type, exception_value, traceback):
            self.log.append(("on_failure", exception_type))

        def on_receive(self, message):
            match message:
                case BaseException():
                    raise message
                case "me":
                    return self.actor_ref
                case "stop":
                    self.stop()
                case ("call", function):
                    return function(self)
            self.log.append(message)
            return message

        def method(self, *args, **kwargs):
            return args, kwargs

        def fail(self):
            raise LookupError("method")

        def store(self, value):
            self.cat = value

        @property
        def doubled(self):
            return self.cat * 2

    return Kind


# -- starting and stopping -------------------------------------------------------------------------


def test_start_returns_a_reference_to_a_living_actor(kind):
    ref = kind.start()
    assert isinstance(ref, pykka.ActorRef)
    assert ref.is_alive()
    assert ref.actor_class is kind
    assert ref.actor_urn.startswith("urn:uuid:")
    assert kind.__name__ in str(ref)
    assert ref.actor_urn in repr(ref) or "ActorRef" in repr(ref)


def test_start_passes_its_arguments_to_the_constructor(kind):
    log = Log()
    kind.start(log).stop()
    kind.start(log=log).stop()
    assert log == ["on_start", "on_stop"] * 2


def test_an_error_of_the_constructor_is_raised_by_start(base):
    class Broken(base):
        def __init__(self):
            super().__init__()
            raise OSError("no")

    with pytest.raises(OSError, match="no"):
        Broken.start()
    assert pykka.ActorRegistry.get_by_class(Broken) == []


def test_on_start_comes_before_the_first_message(kind):
    log = Log()
    ref = kind.start(log)
    ref.ask("first")
    assert log == ["on_start", "first"]


def test_stop_waits_and_tells_whether_the_actor_was_alive(kind):
    log = Log()
    ref = kind.start(log)
    assert ref.stop() is True
    assert not ref.is_alive()
    assert log == ["on_start", "on_stop"]
    assert ref.stop() is False
    assert ref.stop(block=False).get(timeout=20) is False


def test_stop_without_blocking_returns_a_future(kind):
    ref = kind.start()
    assert ref.stop(block=False).get(timeout=20) is True
    assert not ref.is_alive()


def test_what_was_told_before_a_stop_is_handled(kind):
    log = Log()
    ref = kind.start(log)
    for n in range(100):
        ref.tell(n)
    ref.stop()
    assert log == ["on_start", *range(100), "on_stop"]


def test_an_actor_may_stop_itself(kind):
    log = Log()
    ref = kind.start(log)
    ref.tell("stop")
    log.wait_for("on_stop")
    ref.actor_stopped.wait(20)
    assert not ref.is_alive()


def test_an_actor_knows_its_reference(kind):
    ref = kind.start()
    assert ref.ask("me") == ref
    assert ref.ask(("call", lambda self: self.actor_urn)) == ref.actor_urn


# -- messages ------------------------------------------------------------------------------------------


def test_tell_returns_nothing_and_ask_the_answer(kind):
    ref = kind.start()
    assert ref.tell("a") is None
    assert ref.ask("b") == "b"
    assert ref.ask("c", block=False).get(timeout=20) == "c"


def test_ask_raises_what_the_handler_raised_and_the_actor_lives_on(kind):
    ref = kind.start()
    with pytest.raises(LookupError, match="asked"):
        ref.ask(LookupError("asked"))
    with pytest.raises(LookupError):
        ref.ask(LookupError(), block=False).get(timeout=20)
    assert ref.ask("still here") == "still here"


def test_ask_gives_up_with_pykkas_timeout(kind):
    ref = kind.start()
    gate = threading.Event()
    ref.tell(("call", lambda self: gate.wait(20)))
    with pytest.raises(pykka.Timeout):
        ref.ask("late", timeout=0.01)
    gate.set()


def test_a_dead_actor_raises_pykkas_error(kind):
    ref = kind.start()
    ref.stop()
    with pytest.raises(pykka.ActorDeadError):
        ref.tell("x")
    with pytest.raises(pykka.ActorDeadError):
        ref.ask("x")
    with pytest.raises(pykka.ActorDeadError):
        ref.ask("x", block=False).get(timeout=20)
    with pytest.raises(pykka.ActorDeadError):
        ref.proxy()


def test_an_exception_on_a_told_message_stops_the_actor_through_on_failure(kind):
    log = Log()
    ref = kind.start(log)
    ref.tell(LookupError())
    log.wait_for(("on_failure", LookupError))
    assert ref.actor_stopped.wait(20)
    assert "on_stop" not in log
    assert not ref.is_alive()
    assert ref not in pykka.ActorRegistry.get_all()


def test_something_worse_than_an_exception_stops_all_actors(kind):
    others = [kind.start() for _ in range(3)]
    kind.start().tell(SystemExit())
    for ref in others:
        assert ref.actor_stopped.wait(20)
        assert not ref.is_alive()


def test_a_request_that_waited_when_the_actor_stopped_is_answered(kind):
    ref = kind.start()
    entered, gate = threading.Event(), threading.Event()
    ref.tell(("call", lambda self: (entered.set(), gate.wait(20))))
    assert entered.wait(20)
    stopping = ref.stop(block=False)
    late = ref.ask("behind the stop", block=False)
    gate.set()
    assert stopping.get(timeout=20) is True
    with pytest.raises(pykka.ActorDeadError):
        late.get(timeout=20)


# -- proxies ---------------------------------------------------------------------------------------------


def test_a_proxy_reads_attributes_and_properties_as_futures(kind):
    proxy = kind.start().proxy()
    assert proxy.cat.get(timeout=20) == "before"
    assert proxy.attribute.get(timeout=20) == "class attribute"
    assert proxy.doubled.get(timeout=20) == "beforebefore"


def test_a_proxy_sets_attributes_and_waits_for_it(kind):
    proxy = kind.start().proxy()
    proxy.cat = "after"
    assert proxy.cat.get(timeout=20) == "after"


def test_a_proxy_calls_methods(kind):
    proxy = kind.start().proxy()
    assert proxy.method(1, 2, k=3).get(timeout=20) == ((1, 2), {"k": 3})


def test_an_exception_of_a_called_method_is_raised_by_get(kind):
    proxy = kind.start().proxy()
    with pytest.raises(LookupError, match="method"):
        proxy.fail().get(timeout=20)
    assert proxy.cat.get(timeout=20) == "before"


def test_a_deferred_call_returns_nothing_and_is_made(kind):
    proxy = kind.start().proxy()
    assert proxy.store.defer("deferred") is None
    assert proxy.cat.get(timeout=20) == "deferred"


def test_an_exception_of_a_deferred_call_is_a_failure(kind):
    log = Log()
    ref = kind.start(log)
    ref.proxy().fail.defer()
    log.wait_for(("on_failure", LookupError))


def test_calls_through_a_proxy_keep_their_order(kind):
    proxy = kind.start().proxy()
    for n in range(50):
        proxy.store(n)
    assert proxy.cat.get(timeout=20) == 49


def test_private_and_missing_attributes_are_not_shown(kind):
    proxy = kind.start().proxy()
    for name in ("_private", "missing"):
        with pytest.raises(AttributeError):
            getattr(proxy, name)


def test_attributes_marked_traversable_are_reached_through(kind):
    proxy = kind.start().proxy()
    assert proxy.part.number.get(timeout=20) == 7
    assert proxy.part.double(4).get(timeout=20) == 8
    proxy.part.number = 8
    assert proxy.part.number.get(timeout=20) == 8


def test_proxies_of_the_same_actor_are_equal(kind):
    ref = kind.start()
    assert ref.proxy() == ref.proxy()
    assert ref.proxy() != kind.start().proxy()
    assert ref.proxy().actor_ref == ref
    assert "method" in dir(ref.proxy())


def test_an_actor_may_use_a_proxy_to_itself(kind):
    log = Log()
    ref = kind.start(log)

    def later(self):
        self._me = self.actor_ref.proxy()
        self._me.store("by myself")
        return self.cat

    assert ref.ask(("call", later)) == "before"
    assert ref.proxy().cat.get(timeout=20) == "by myself"


def test_a_proxy_of_an_actor_that_stopped_raises(kind):
    proxy = kind.start().proxy()
    proxy.actor_ref.stop()
    with pytest.raises(pykka.ActorDeadError):
        proxy.method().get(timeout=20)
    with pytest.raises(pykka.ActorDeadError):
        proxy.cat = 1


# -- futures -----------------------------------------------------------------------------------------------


def test_futures_of_asks_and_calls_combine(kind):
    proxy = kind.start().proxy()
    one, two = proxy.actor_ref.ask(1, block=False), proxy.actor_ref.ask(2, block=False)
    assert one.join(two).get(timeout=20) == [1, 2]
    assert one.map(lambda n: n + 1).get(timeout=20) == 2
    many = proxy.actor_ref.ask([1, 2, 3], block=False)
    assert many.filter(lambda n: n > 1).get(timeout=20) == [2, 3]
    assert many.reduce(lambda a, b: a + b, 10).get(timeout=20) == 16
    assert pykka.get_all([one, two, proxy.cat], timeout=20) == [1, 2, "before"]


async def test_futures_of_asks_can_be_awaited(kind):
    assert await kind.start().ask("awaited", block=False) == "awaited"


# -- the registry --------------------------------------------------------------------------------------------


def test_the_registry_knows_the_living_actors(kind, base):
    class Other(base):
        pass

    one, two, other = kind.start(), kind.start(), Other.start()
    registry = pykka.ActorRegistry
    assert {one, two, other} <= set(registry.get_all())
    assert set(registry.get_by_class(kind)) == {one, two}
    assert set(registry.get_by_class_name("Other")) == {other}
    assert set(registry.get_by_class(base)) >= {one, two, other}
    assert registry.get_by_urn(one.actor_urn) == one
    one.stop()
    assert registry.get_by_urn(one.actor_urn) is None
    assert set(registry.get_by_class(kind)) == {two}


def test_the_registry_broadcasts(kind):
    logs = [Log(), Log()]
    refs = [kind.start(log) for log in logs]
    pykka.ActorRegistry.broadcast("to all of a class", target_class=kind)
    pykka.ActorRegistry.broadcast("to all by name", target_class="Kind")
    for ref, log in zip(refs, logs, strict=True):
        ref.ask("sync")
        assert log == ["on_start", "to all of a class", "to all by name", "sync"]


def test_the_registry_stops_all_and_says_what_became_of_each(kind):
    log = Log()
    refs = [kind.start(log) for _ in range(5)]
    assert pykka.ActorRegistry.stop_all(timeout=20) == [True] * 5
    assert log.count("on_stop") == 5
    assert not any(ref.is_alive() for ref in refs)
    assert pykka.ActorRegistry.get_all() == []


def test_actors_of_both_kinds_talk_to_each_other():
    class Theirs(pykka.ThreadingActor):
        def on_receive(self, message):
            return ours.ask(message) if message == "go on" else message

    class Ours(actors.Actor):
        def on_receive(self, message):
            return theirs.ask("answer")

    ours, theirs = Ours.start(), Theirs.start()
    try:
        assert ours.ask("x") == "answer"
        both = theirs.ask("a", block=False).join(ours.ask("b", block=False))
        assert both.get(timeout=20) == ["a", "answer"]
    finally:
        pykka.ActorRegistry.stop_all(timeout=20)


# -- where ours is better ------------------------------------------------------------------------------------


def test_a_failing_on_start_calls_on_failure():
    log = Log()

    class Fails(actors.Actor):
        def on_start(self):
            raise OSError

        def on_failure(self, exception_type, exception_value, traceback):
            log.append(exception_type)

    ref = Fails.start()
    log.wait_for(OSError)
    assert ref.actor_stopped.wait(20)


def test_stopping_all_from_inside_an_actor_does_not_deadlock():
    class Stops(actors.Actor):
        def on_receive(self, message):
            pykka.ActorRegistry.stop_all(block=False)

    refs = [Stops.start() for _ in range(3)]
    refs[0].tell("go")
    for ref in refs:
        assert ref.actor_stopped.wait(20)


def test_a_reference_alone_keeps_its_actor_alive():
    import gc

    class Kept(actors.Actor):
        def on_receive(self, message):
            return message

    ref = Kept.start()
    gc.collect()
    assert ref.ask("here") == "here"
    assert ref.proxy().actor_ref == ref
    ref.stop()
