"""What pykka's documentation promises of proxies and futures, asked of pykka's and of ours alike."""

from __future__ import annotations

import logging
import queue
from typing import cast
from unittest import mock

import pykka
import pytest
from pykka.messages import ProxyGetAttr
from pykka.typing import ActorMemberMixin, proxy_field, proxy_method

import actors

# -- proxies ---------------------------------------------------------------------------------------


class Inner:
    pykka_traversable = True
    value = "inner value"

    def deep(self):
        return "deep"


class Part:
    def __init__(self):
        self.inner = Inner()
        self.opaque = Opaque()
        self.number = 1

    def double(self):
        return 2 * self.number


class Opaque:
    number = 1


@pykka.traversable
class Marked:
    number = 4


@pytest.fixture
def rich(either):
    class Rich(either):
        attribute = "class attribute"
        _private = "hidden"
        marked = Marked()
        plain = Opaque()

        def __init__(self):
            super().__init__()
            self.part = pykka.traversable(Part())
            self.items = [1, 2, 3]
            self.call_me = lambda n: n + 1

        @property
        def computed(self):
            return len(self.items)

        @computed.setter
        def computed(self, value):
            raise OverflowError(value)

        @staticmethod
        def static():
            return "static"

        @property
        def broken(self):
            raise LookupError("broken")

        def add_method(self):
            self.added = lambda: "added"

        def items_later(self):
            return self.items

    return Rich


@pytest.fixture
def proxy(rich):
    return rich.start().proxy()


def test_a_proxy_is_made_by_hand_or_by_its_reference(rich):
    ref = rich.start()
    assert pykka.ActorProxy(actor_ref=ref) == ref.proxy()
    assert hash(pykka.ActorProxy(actor_ref=ref)) == hash(ref.proxy())
    assert ref.proxy() != ref
    assert repr(ref.proxy()) == f"<ActorProxy for {ref}, attr_path=()>"


def test_dir_of_a_proxy_shows_what_is_public(proxy):
    shown = dir(proxy)
    assert {"attribute", "items", "part", "computed", "items_later", "actor_ref"} <= set(shown)
    assert "_private" not in shown
    assert "__class__" in shown


def test_a_proxy_reads_and_calls_everything_public(proxy):
    assert proxy.attribute.get(timeout=20) == "class attribute"
    assert proxy.items.get(timeout=20) == [1, 2, 3]
    assert proxy.computed.get(timeout=20) == 3
    assert proxy.static().get(timeout=20) == "static"
    assert proxy.call_me(1).get(timeout=20) == 2
    assert proxy.actor_urn.get(timeout=20) == proxy.actor_ref.actor_urn


def test_a_method_that_is_not_called_is_a_callable_proxy(proxy):
    method = proxy.items_later
    assert isinstance(method, pykka.CallableProxy)
    assert method is proxy.items_later
    assert method.actor_ref == proxy.actor_ref
    assert method().get(timeout=20) == [1, 2, 3]
    assert method.defer() is None


def test_attributes_that_are_added_later_are_found(proxy):
    with pytest.raises(AttributeError):
        proxy.added  # noqa: B018
    proxy.add_method().get(timeout=20)
    assert proxy.added().get(timeout=20) == "added"


def test_setting_an_attribute_creates_it_and_waits(proxy):
    proxy.brand_new = {"a": 1}
    assert proxy.brand_new.get(timeout=20) == {"a": 1}


def test_setting_raises_what_the_setter_raises(proxy):
    with pytest.raises(OverflowError):
        proxy.computed = 3
    with pytest.raises(AttributeError):
        proxy.broken = 3


def test_a_private_attribute_of_a_proxy_is_the_proxys_own(proxy):
    proxy._private = "mine"
    assert proxy._private == "mine"
    assert proxy.actor_ref.ask(ProxyGetAttr(attr_path=("_private",))) == "hidden"


def test_an_exception_of_a_property_is_raised_by_get(proxy):
    future = proxy.broken
    with pytest.raises(LookupError, match="broken"):
        future.get(timeout=20)
    assert proxy.attribute.get(timeout=20) == "class attribute", "and the actor lives on"


@pytest.mark.parametrize("arguments", [(1,), (1, 2, 3)])
def test_a_call_with_wrong_arguments_raises_type_error_from_the_future(proxy, arguments):
    future = proxy.items_later(*arguments)
    with pytest.raises(TypeError):
        future.get(timeout=20)


def test_traversable_attributes_are_proxies_however_deep(proxy):
    assert isinstance(proxy.part, pykka.ActorProxy)
    assert proxy.part.inner.value.get(timeout=20) == "inner value"
    assert proxy.part.inner.deep().get(timeout=20) == "deep"
    assert proxy.marked.number.get(timeout=20) == 4
    proxy.part.number = 21
    assert proxy.part.double().get(timeout=20) == 42
    assert proxy.part.inner is proxy.part.inner
    assert repr(proxy.part).endswith("attr_path=('part',)>")
    with pytest.raises(AttributeError):
        proxy.part.missing  # noqa: B018


def test_what_is_not_traversable_is_given_away_itself(proxy):
    assert isinstance(proxy.plain.get(timeout=20), Opaque)
    assert isinstance(proxy.part.opaque.get(timeout=20), Opaque)


def test_an_object_with_slots_cannot_be_marked():
    class Slotted:
        __slots__ = ()

    with pytest.raises(ValueError, match="slots"):
        pykka.traversable(Slotted())


def test_an_attribute_may_be_the_proxy_of_another_actor(rich):
    other = rich.start().proxy()
    proxy = rich.start().proxy()
    proxy.friend = other
    friend = proxy.friend.get(timeout=20)
    assert friend == other
    assert friend.attribute.get(timeout=20) == "class attribute"


def test_a_proxy_of_oneself_may_be_made_in_the_constructor_and_in_on_start(either, notes):
    class Splits(either):
        def __init__(self):
            super().__init__()
            self._in_future = self.actor_ref.proxy()

        def on_start(self):
            self._also = self.actor_ref.proxy()

        def work(self, left):
            notes.append(left)
            if left:
                self._in_future.work(left - 1)
            else:
                self._also.stop()

    ref = Splits.start()
    ref.proxy().work(3)
    assert ref.actor_stopped.wait(20)
    assert notes == [3, 2, 1, 0]


def test_a_public_proxy_of_oneself_is_hidden_with_a_warning(either, caplog):
    class Careless(either):
        def __init__(self):
            super().__init__()
            self.myself = self.actor_ref.proxy()
            self.attribute = 1

    with caplog.at_level(logging.WARNING, "pykka"):
        proxy = Careless.start().proxy()
    assert "'myself' is a proxy to itself" in caplog.text
    with pytest.raises(AttributeError):
        proxy.myself  # noqa: B018
    assert proxy.attribute.get(timeout=20) == 1


def test_attributes_may_be_mocks(either):
    class Mocked(either):
        def __init__(self):
            super().__init__()
            self.stub = mock.Mock(return_value="called")
            self.value = mock.NonCallableMock()

    proxy = Mocked.start().proxy()
    assert proxy.stub(1).get(timeout=20) == "called"
    assert isinstance(proxy.value.get(timeout=20), mock.NonCallableMock)


def test_a_class_attribute_may_be_patched_under_a_running_actor(rich, proxy):
    with mock.patch.object(rich, "items_later", return_value="patched"):
        assert proxy.items_later().get(timeout=20) == "patched"


def test_a_proxy_stops_its_actor(proxy):
    assert proxy.stop().get(timeout=20) is None
    assert proxy.actor_ref.actor_stopped.wait(20)
    with pytest.raises(pykka.ActorDeadError):
        proxy.items_later().get(timeout=20)
    with pytest.raises(pykka.ActorDeadError):
        proxy.items.get(timeout=20)
    with pytest.raises(pykka.ActorDeadError):
        proxy.items_later.defer()
    with pytest.raises(pykka.ActorDeadError):
        pykka.ActorProxy(actor_ref=proxy.actor_ref)


def test_a_proxy_can_be_typed(either):
    class Circle(either):
        pi = 3

        def area(self, radius):
            return self.pi * radius**2

    class CircleProxy(ActorMemberMixin, pykka.ActorProxy):
        pi = proxy_field(Circle.pi)
        area = proxy_method(Circle.area)

    proxy = cast("CircleProxy", Circle.start().proxy())
    assert proxy.pi.get(timeout=20) == 3
    assert proxy.area(2).get(timeout=20) == 12
    assert proxy.on_receive("x").get(timeout=20) is None
    assert proxy.stop().get(timeout=20) is None


@pytest.fixture(params=[pykka.ThreadingFuture, actors.Future], ids=["pykka", "ours"])
def future(request):
    return request.param()


# -- futures ---------------------------------------------------------------------------------------


def test_a_future_is_set_once(future):
    future.set("value")
    assert future.get() == future.get(timeout=0) == "value"
    for again in (
        lambda: future.set("again"),
        lambda: future.set_exception((OSError, OSError(), None)),
        lambda: future.set_get_hook(lambda timeout: 1),
    ):
        with pytest.raises(queue.Full):
            again()
    assert future.get() == "value"


def test_a_future_may_be_set_to_nothing(future):
    future.set()
    assert future.get() is None


def test_a_future_takes_the_exception_being_handled(future):
    error = LookupError("handled")
    try:
        raise error
    except LookupError:
        future.set_exception()
    with pytest.raises(LookupError) as caught:
        future.get()
    assert caught.value is error


@pytest.mark.parametrize("error", [LookupError("given"), None])
def test_a_future_takes_a_triple(future, error):
    future.set_exception((LookupError, error, None))
    with pytest.raises(LookupError):
        future.get(timeout=20)


def test_a_hook_makes_the_value_once_and_gets_the_timeout(future):
    asked = []
    future.set_get_hook(lambda timeout: asked.append(timeout) or "made")
    assert future.get(timeout=3) == "made"
    assert future.get() == "made"
    assert asked == [3]


def test_a_future_with_a_hook_cannot_be_set(future):
    future.set_get_hook(lambda timeout: "made")
    for answer in (lambda: future.set(1), lambda: future.set_exception((OSError, None, None))):
        with pytest.raises(queue.Full):
            answer()
    assert future.get() == "made"


def test_a_hook_that_raises_is_asked_again(future):
    outcomes = iter([LookupError("first"), "second"])

    def hook(timeout):
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    future.set_get_hook(hook)
    with pytest.raises(LookupError):
        future.get()
    assert future.get() == "second"


COMBINED = [
    ("filter", lambda f: f.filter(lambda n: n > 10), range(5, 15), [11, 12, 13, 14]),
    ("filter nothing", lambda f: f.filter(lambda n: n > 10), [], []),
    ("map", lambda f: f.map(lambda n: n + 10), 30, 40),
    ("map of a dict", lambda f: f.map(lambda d: d["foo"]), {"foo": "bar"}, "bar"),
    ("map of a list", lambda f: f.map(len), [1, 2, 3], 3),
    ("reduce", lambda f: f.reduce(lambda a, b: a + b), ["a", "b", "c"], "abc"),
    ("reduce from", lambda f: f.reduce(lambda a, b: a + b, 5), [1, 2, 3], 11),
    ("reduce nothing", lambda f: f.reduce(lambda a, b: a + b, 5), [], 5),
    ("join itself", lambda f: f.join(f, f), 1, [1, 1, 1]),
    ("chain", lambda f: f.filter(bool).map(sum).map(str), [0, 1, 2], "3"),
]


@pytest.mark.parametrize("before", [True, False], ids=["set before", "set after"])
@pytest.mark.parametrize(
    ("combine", "value", "result"), [case[1:] for case in COMBINED], ids=[c[0] for c in COMBINED]
)
def test_a_future_made_of_another_has_the_value_made_of_its(future, combine, value, result, before):
    if before:
        future.set(value)
    combined = combine(future)
    assert isinstance(combined, pykka.Future)
    if not before:
        with pytest.raises(pykka.Timeout):
            combined.get(timeout=0)
        future.set(value)
    assert combined.get(timeout=20) == combined.get() == result
    assert future.get() == value, "which keeps its own"


@pytest.mark.parametrize(
    "combine",
    [
        lambda f: f.filter(bool),
        lambda f: f.reduce(lambda a, b: a + b),
        lambda f: f.map(lambda n: n["key"]),
    ],
)
def test_what_cannot_be_combined_raises_type_error_from_get(future, combine):
    combined = combine(future)
    future.set(1)
    with pytest.raises(TypeError):
        combined.get(timeout=20)


def test_a_reduce_of_nothing_from_nothing_raises_type_error(future):
    future.set([])
    with pytest.raises(TypeError):
        future.reduce(lambda a, b: a + b).get(timeout=20)


def test_a_failed_future_fails_those_made_of_it(future):
    combined = [future.map(str), future.filter(bool), future.join(), future.reduce(max)]
    future.set_exception((LookupError, LookupError("source"), None))
    for one in combined:
        with pytest.raises(LookupError, match="source"):
            one.get(timeout=20)


def test_several_futures_are_waited_for_in_order(echo):
    futures = [echo.ask(n, block=False) for n in range(5)]
    for get_all in (pykka.get_all, actors.get_all):
        assert get_all(futures) == [0, 1, 2, 3, 4]
        assert get_all(iter(futures), timeout=20) == [0, 1, 2, 3, 4]
        assert get_all([]) == []


def test_one_that_is_late_or_failed_is_what_all_raise(does, gate):
    ref = does.start()
    failed = ref.ask(lambda me: me.fail(LookupError), block=False)
    gate.close(ref)
    late = ref.ask(lambda me: None, block=False)
    for get_all in (pykka.get_all, actors.get_all):
        with pytest.raises(LookupError):
            get_all([failed, late], timeout=20)
        with pytest.raises(pykka.Timeout):
            get_all([late], timeout=0.01)


async def test_a_future_is_awaited_for_its_value_or_exception(does):
    proxy = does.start().proxy()
    assert await proxy.actor_ref.ask(lambda me: "value", block=False) == "value"
    assert await proxy.notes == ["on_start"]
    with pytest.raises(LookupError):
        await proxy.fail(LookupError)


async def test_a_future_with_a_hook_or_made_of_another_can_be_awaited(future):
    future.set_get_hook(lambda timeout: [1, 2])
    assert await future.map(sum) == 3
    assert await future == [1, 2]
