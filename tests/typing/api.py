"""Types that the public API has; checked by the type checker and never run."""

from __future__ import annotations

from decimal import Decimal
from types import TracebackType
from typing import Any, assert_type, cast

from pykka import ActorProxy
from pykka import Future as PykkaFuture
from pykka.typing import ActorMemberMixin, proxy_field, proxy_method

from actors import (
    Actor,
    ActorRef,
    ActorSystem,
    Agent,
    BudgetPool,
    ChildSpec,
    Future,
    Model,
    Reply,
    get_all,
    run,
)
from actors.testing import (
    CapturedRun,
    FaultyModel,
    RecordedModel,
    ScriptedModel,
    TestProbe,
    canonical,
    capture_run,
    compare,
)
from patterns import Pipeline, PipelineResult, Stage


class Greeter(Actor):
    loud = False

    def greet(self) -> str:
        return "hello"


class Waiter(Actor):
    # pykka's hooks return None; the day mypy takes these without, it says that the ignore is unused.
    async def on_start(self) -> None:  # type: ignore[override]
        await self.reply_later()

    async def on_stop(self) -> None:  # type: ignore[override]
        await self.reply_later()

    async def on_failure(  # type: ignore[override]
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.reply_later()

    async def on_receive(self, message: Any) -> str:
        return str(message)


class GreeterProxy(ActorMemberMixin, ActorProxy[Greeter]):
    loud = proxy_field(Greeter.loud)
    greet = proxy_method(Greeter.greet)


def proxies_are_typed_as_pykkas_are(ref: ActorRef[Greeter]) -> None:
    assert_type(ref.proxy(), ActorProxy[Greeter])
    proxy = cast("GreeterProxy", ref.proxy())
    assert_type(proxy.loud, PykkaFuture[bool])
    assert_type(proxy.greet().get(), str)
    assert_type(proxy.stop(), PykkaFuture[None])


def references_know_their_class(system: ActorSystem, parent: Actor) -> None:
    assert_type(system.spawn(Greeter), ActorRef[Greeter])
    assert_type(parent.spawn(Greeter, name="child"), ActorRef[Greeter])
    assert_type(system.spawn(ChildSpec(Greeter)), ActorRef[Any])
    assert_type(Greeter.start(), ActorRef[Greeter])


def asking_blocks_or_does_not(ref: ActorRef[Greeter]) -> None:
    assert_type(ref.request("x"), Future[Any])
    assert_type(ref.ask("x", block=False), Future[Any])
    assert_type(ref.stop(), bool)
    assert_type(ref.stop(block=False), Future[bool])


async def futures_give_what_they_promise(future: Future[int], agent: Agent) -> None:
    assert_type(await future, int)
    assert_type(future.get(timeout=1), int)
    assert_type(future.map(str), Future[str])
    assert_type(get_all([future]), list[int])
    assert_type(await agent.run("x"), Reply)
    assert_type((await agent.run("x")).cost_usd, Decimal | None)


async def patterns_return_their_results(pool: BudgetPool) -> None:
    async with run(budget=pool, deadline=3) as context:
        assert_type(context.run_id, str)
        assert_type(await Pipeline([Stage("a", str.upper)]).run("x"), PipelineResult)


async def test_kit(system: ActorSystem) -> None:
    probe = TestProbe(system)
    assert_type(probe.expect_type(Reply), Reply)
    assert_type(await probe.aio.expect_type(Reply), Reply)
    assert_type(probe.receive_until(bool), list[Any])
    with ScriptedModel(["text", ("matcher", 5)]) as scripted:
        models: list[Model] = [
            scripted,
            FaultyModel(scripted, slow=(0.1, (1, 5))),
            RecordedModel(None, "tape"),
        ]
        assert_type(await models[0].complete([], max_tokens=1), Reply)
    with capture_run(system=system, budget=1) as capture:
        capture.result = "anything"
    assert_type(capture.run, CapturedRun)
    assert_type(capture.run.cost_usd, Decimal | None)
    assert_type(capture.run.latency("agent"), float)
    form = canonical(capture.run)
    assert_type(bool(compare(form, form, cost=0.1)), bool)
