"""Agents: what may stand in their place, what they are charged, and how they are stopped."""

from __future__ import annotations

import asyncio
import threading
from decimal import Decimal
from typing import Any

import pytest

from actors import (
    ActorStopped,
    ActorSystem,
    Agent,
    BudgetExceeded,
    BudgetPool,
    DeadlineExceeded,
    InvalidOption,
    InvalidOutput,
    Message,
    ModelTimeout,
    ModelUnavailable,
    Price,
    Reply,
    Usage,
    as_agent,
    current,
    run,
)
from actors._errors import UnusableReply

PRICE = Price(input_per_mtok=1000, output_per_mtok=2000)  # 0.001 and 0.002 USD a token


class Script:
    """A model that does what a function says, and keeps what it was asked."""

    name = "scripted"
    context_window = None

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[tuple[list[Message], int]] = []

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def most_usd(self, input_tokens: int, max_tokens: int) -> Decimal:
        return PRICE.cost(Usage(input_tokens, max_tokens))

    async def complete(
        self, messages: Any, *, max_tokens: int, schema: Any = None, timeout: Any = None
    ) -> Reply:
        self.asked.append((list(messages), max_tokens))
        answer = self.answer
        if callable(answer):
            answer = await answer()
        if isinstance(answer, BaseException):
            raise answer
        usage = Usage(10, 5)
        return Reply(text=answer, usage=usage, cost_usd=PRICE.cost(usage), model="scripted-1")

    async def aclose(self) -> None:
        return None


@pytest.fixture
def system() -> Any:
    with ActorSystem("agents") as system:
        yield system


def test_sync_and_async_callables_and_objects_with_run_are_workers(system: ActorSystem) -> None:
    async def shout(prompt: str) -> str:
        return prompt.upper()

    class Runner:
        def run(self, prompt: str) -> str:
            return prompt + "!"

    assert Agent(str.title, system=system).run("a b").get(timeout=5).text == "A B"
    assert Agent(shout, system=system).run("a").get(timeout=5).text == "A"
    assert Agent(Runner(), system=system).run("a").get(timeout=5).text == "a!"


def test_objects_with_text_keep_their_usage_and_an_unknown_cost_stays_unknown(
    system: ActorSystem,
) -> None:
    class Answer:
        text = "42"
        tokens = 7

    reply = Agent(lambda _: Answer(), system=system).run("?").get(timeout=5)
    assert (reply.text, reply.tokens, reply.cost_usd) == ("42", 7, None)


def test_what_is_no_answer_is_refused_with_the_agents_name(system: ActorSystem) -> None:
    with pytest.raises(InvalidOutput, match="numbers"):
        Agent(lambda _: 42, name="numbers", system=system).run("?").get(timeout=5)


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"timeout": -1}, "deadline"),
        ({"timeout": float("nan")}, "deadline"),
    ],
)
def test_options_that_cannot_work_are_refused_when_given(
    options: dict[str, Any], option: str
) -> None:
    with pytest.raises(InvalidOption) as refused:
        Agent(str.upper, **options)
    assert refused.value.option == option


def test_what_cannot_work_on_a_prompt_is_no_agent() -> None:
    with pytest.raises(InvalidOption, match="a callable"):
        as_agent(42)


def test_a_sync_worker_runs_off_the_loop_and_one_prompt_at_a_time(system: ActorSystem) -> None:
    inside, most, lock = 0, 0, threading.Lock()

    def worker(prompt: str) -> str:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.002)
        with lock:
            inside -= 1
        return prompt

    agent = Agent(worker, system=system)
    futures = [agent.run(str(i)) for i in range(10)]
    assert [f.get(timeout=5).text for f in futures] == [str(i) for i in range(10)]
    assert most == 1


async def test_concurrency_lets_that_many_work_at_a_time() -> None:
    inside, most = 0, 0
    enough = asyncio.Event()

    async def worker(prompt: str) -> str:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if inside == 3:
            enough.set()
        await enough.wait()
        inside -= 1
        return prompt

    async with ActorSystem() as system:
        agent = Agent(worker, concurrency=3, system=system)
        replies = await asyncio.gather(*(agent.run(str(i)) for i in range(9)))
    assert [r.text for r in replies] == [str(i) for i in range(9)]
    assert most == 3


async def test_a_model_is_told_its_instructions_and_its_ceiling() -> None:
    model = Script("fine")
    async with ActorSystem() as system:
        agent = Agent(model, instructions="Be brief.", max_tokens=33, system=system)
        reply = await agent.run("Well?")
    assert reply.text == "fine"
    assert model.asked == [([Message("system", "Be brief."), Message("user", "Well?")], 33)]


async def test_the_worst_case_is_reserved_before_the_call_and_the_real_cost_settled_after() -> None:
    reserved: list[Decimal] = []

    async def look() -> str:
        context = current()
        assert context is not None
        reserved.append((await pool.snapshot()).reserved_usd)
        return "done"

    async with ActorSystem() as system:
        pool = BudgetPool(usd=10, tokens=10_000, system=system)
        agent = Agent(Script(look), max_tokens=100, system=system)
        async with run(budget=pool):
            await agent.run("one two three")
        after = await pool.snapshot()
    assert reserved[0] >= PRICE.cost(Usage(3, 100))
    assert after.reserved_usd == 0
    assert after.settled_usd == PRICE.cost(Usage(10, 5))
    assert after.settled_tokens == 15


async def test_a_call_that_does_not_fit_the_budget_is_not_made() -> None:
    model = Script("never")
    async with ActorSystem() as system:
        agent = Agent(model, system=system)
        with pytest.raises(BudgetExceeded):
            await agent.run("hello", budget="0.01")
    assert model.asked == []


async def test_a_billed_answer_that_is_unusable_is_charged_and_a_refused_connection_is_not() -> (
    None
):
    usage = Usage(10, 5)
    billed = UnusableReply("scripted", "no JSON", Reply("x", usage, PRICE.cost(usage)))
    async with ActorSystem() as system:
        for error, settled in ((billed, PRICE.cost(usage)), (ModelUnavailable("m", "refused"), 0)):
            pool = BudgetPool(usd=10, system=system)
            with pytest.raises(type(error)):
                await Agent(Script(error), system=system).run("hello", budget=pool)
            snapshot = await pool.snapshot()
            assert (snapshot.settled_usd, snapshot.reserved_usd) == (settled, 0)


async def test_an_unknown_price_under_a_usd_budget_is_refused_and_a_given_price_helps() -> None:
    model = Script("fine")
    model.most_usd = lambda *_: None  # type: ignore[method-assign,assignment]
    async with ActorSystem() as system:
        with pytest.raises(InvalidOption, match="price"):
            await Agent(model, system=system).run("hello", budget=1)
        reply = await Agent(model, price=Price(0, 0), system=system).run("hello", budget=1)
    assert reply.cost_usd == 0


async def test_a_deadline_cancels_the_worker_and_the_prompt_read_is_charged() -> None:
    cancelled = asyncio.Event()

    async def hang() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return "never"

    async with ActorSystem() as system:
        pool = BudgetPool(usd=10, system=system)
        agent = Agent(Script(hang), system=system)
        with pytest.raises(DeadlineExceeded):
            await agent.run("one two", budget=pool, deadline=0.05)
        await asyncio.wait_for(cancelled.wait(), 5)
        snapshot = await pool.snapshot()
        while not snapshot.settled_tokens:
            snapshot = await pool.snapshot()
    assert snapshot.settled_usd > 0
    assert snapshot.reserved_usd == 0


async def test_cancelling_the_future_cancels_the_worker_and_the_agent_goes_on() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def worker(prompt: str) -> str:
        if prompt == "hang":
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
        return prompt

    async with ActorSystem() as system:
        agent = Agent(worker, system=system)
        future = agent.run("hang")
        await asyncio.wait_for(started.wait(), 5)
        assert future.cancel()
        await asyncio.wait_for(cancelled.wait(), 5)
        assert (await agent.run("next")).text == "next"


async def test_the_models_own_timeout_is_told_apart_from_the_deadline() -> None:
    async with ActorSystem() as system:
        with pytest.raises(ModelTimeout):
            await Agent(Script(ModelTimeout("m", "slow")), system=system).run("x", deadline=60)


async def test_a_callable_that_asks_for_them_gets_a_lease_and_the_deadline_in_force() -> None:
    async def worker(prompt: str, budget: Any, deadline: Any) -> str:
        await budget.charge(usd="0.5", tokens=3)
        return f"{0 < deadline.remaining() <= 60}"

    async with ActorSystem() as system:
        pool = BudgetPool(usd=1, system=system)
        reply = await Agent(worker, system=system).run("x", budget=pool, deadline=60)
        assert (await pool.snapshot()).settled_usd == Decimal("0.5")
    assert reply.text == "True"


async def test_an_agent_whose_worker_exits_is_started_anew_by_the_next_prompt() -> None:
    async def worker(prompt: str) -> str:
        if prompt == "exit":
            raise SystemExit(3)
        return prompt

    async with ActorSystem() as system:
        agent = Agent(worker, system=system)
        with pytest.raises(SystemExit):
            await agent.run("exit")
        assert (await agent.run("still here")).text == "still here"
        assert system.health().ready


async def test_agents_that_nobody_refers_to_any_more_leave_the_system() -> None:
    stopped, loop = asyncio.Semaphore(0), asyncio.get_running_loop()
    async with ActorSystem() as system:
        system.events.subscribe(lambda _: loop.call_soon_threadsafe(stopped.release), ActorStopped)
        before = system.stats().actors
        for _ in range(20):
            await Agent(str.upper, system=system).run("x")
        for _ in range(40):  # the agent and the hand of its sync worker, each
            await asyncio.wait_for(stopped.acquire(), 5)
        assert system.stats().actors == before


async def test_a_cancelled_asker_cancels_the_worker_at_the_desk_of_a_concurrent_agent() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def worker(prompt: str) -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return prompt

    async def ask(agent: Agent) -> Reply:
        return await agent.run("hang")

    async with ActorSystem() as system:
        asker = asyncio.create_task(ask(Agent(worker, concurrency=2, system=system)))
        await asyncio.wait_for(started.wait(), 5)
        asker.cancel()
        await asyncio.wait_for(cancelled.wait(), 5)
        with pytest.raises(asyncio.CancelledError):
            await asker


async def test_an_object_with_run_that_takes_no_budget_is_charged_for_its_reply() -> None:
    class Runner:
        async def run(self, prompt: str) -> Reply:
            return Reply(prompt, Usage(2, 3), Decimal("0.25"))

    async with ActorSystem() as system:
        pool = BudgetPool(usd=1, system=system)
        await Agent(Runner(), system=system).run("x", budget=pool)
        snapshot = await pool.snapshot()
    assert (snapshot.settled_usd, snapshot.settled_tokens) == (Decimal("0.25"), 5)


async def test_callables_that_say_what_they_cost_at_most_never_overrun_the_budget() -> None:
    calls = 0

    async def spend(prompt: str) -> Reply:
        nonlocal calls
        calls += 1
        return Reply(prompt, cost_usd=0.02)  # type: ignore[arg-type]  # floats are taken, too

    async with ActorSystem() as system:
        pool = BudgetPool(usd="0.05", system=system)
        agents = [Agent(spend, max_usd="0.02", system=system) for _ in range(50)]
        async with run(budget=pool):
            outcomes = await asyncio.gather(*(a.run("x") for a in agents), return_exceptions=True)
        snapshot = await pool.snapshot()
    assert calls == sum(isinstance(o, Reply) for o in outcomes) == 2
    assert sum(isinstance(o, BudgetExceeded) for o in outcomes) == 48
    assert (snapshot.settled_usd, snapshot.reserved_usd) == (Decimal("0.04"), 0)


async def test_a_callable_of_which_nothing_is_known_is_refused_once_its_cost_would_not_fit() -> (
    None
):
    calls = 0

    async def spend(prompt: str) -> Reply:
        nonlocal calls
        calls += 1
        return Reply(prompt, cost_usd=Decimal("0.02"))

    async with ActorSystem() as system:
        pool = BudgetPool(usd="0.05", system=system)
        agent = Agent(spend, system=system)
        async with run(budget=pool):
            await agent.run("x")
            await agent.run("x")
            with pytest.raises(BudgetExceeded):
                await agent.run("x")
        assert (await pool.snapshot()).settled_usd == Decimal("0.04")
    assert calls == 2


async def test_what_a_callable_cost_stands_under_the_agents_path() -> None:
    async def spend(prompt: str) -> Reply:
        return Reply(prompt, cost_usd=Decimal("0.02"))

    async with ActorSystem() as system:
        pool = BudgetPool(usd=1, system=system)
        agent = Agent(spend, name="spender", system=system)
        # The first call takes no lease, since nothing is known; the second reserves as much.
        for _ in range(2):
            await agent.run("x", budget=pool)
        async with pool.acquire("0.5", holder="somebody") as lease:
            await Agent(spend, name="other", system=system).run("x", budget=lease)
        shares = (await pool.snapshot()).by_holder
    assert {holder: share.settled_usd for holder, share in shares.items()} == {
        "/spender": Decimal("0.04"),
        "/other": Decimal("0.02"),
    }


async def test_an_overdrawn_budget_admits_no_callable_either() -> None:
    async with ActorSystem() as system:
        pool = BudgetPool(usd="0.05", system=system)
        with pytest.raises(BudgetExceeded):
            await pool.charge(usd="0.06")
        with pytest.raises(BudgetExceeded):
            await Agent(str.upper, system=system).run("x", budget=pool)


@pytest.mark.parametrize("cost", [1, 0.25, "0.25", Decimal("0.25")])
def test_a_reply_takes_its_cost_in_any_form_of_money(cost: Any) -> None:
    assert Reply("x", cost_usd=cost).cost_usd == Decimal(str(cost))


@pytest.mark.parametrize("cost", ["a lot", True, []])
def test_a_reply_refuses_what_is_no_money(cost: Any) -> None:
    with pytest.raises(InvalidOption):
        Reply("x", cost_usd=cost)


async def test_an_agent_stands_in_the_tree_under_its_name() -> None:
    async with ActorSystem() as system:
        first, second = (Agent(str.upper, name="editor", system=system) for _ in range(2))
        await first.run("x")
        await second.run("x")
        assert system.find("/editor") is not None
        assert system.find("/editor-2") is not None


def test_a_thousand_agents_of_one_name_start_and_are_numbered(system: ActorSystem) -> None:
    async def shout(prompt: str) -> str:
        return prompt.upper()

    agents = [Agent(shout, name="same", system=system) for _ in range(1000)]
    assert [agent.run("a").get(timeout=20).text for agent in agents] == ["A"] * 1000
    names = {node.path for node in system.tree().children if node.path.startswith("/same")}
    assert names == {"/same", *(f"/same-{n}" for n in range(2, 1001))}
