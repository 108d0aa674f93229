"""What one step of a pattern costs, with budget, decision log and trace on, and without.

A step is one call of an agent: a stage, the chosen specialist, a recipient, a worker or reviewer.
langgraph draws the same graphs, bare; autogen-core's step is one message and its answer, bare.
"""

from __future__ import annotations

import asyncio
import operator
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

from benchmarks._spec import Benchmark, Measurement, case, check, define

__all__: list[str] = []

WIDTH = 10
"""Stages of the pipeline, and recipients of the broadcast."""

pipeline, router, broadcast, supervisor = (
    define(f"step-{name}", "steps", "callboard", {"steps": 2_000}, ("steps",))
    for name in ("pipeline", "router", "broadcast", "supervisor")
)

STEPS = {"step-pipeline": WIDTH, "step-router": 1, "step-broadcast": WIDTH, "step-supervisor": 2}
"""Steps in one run of each."""


class Agents:
    """The agents of all patterns; they count how often they are called."""

    def __init__(self) -> None:
        self.calls = 0

    async def work(self, prompt: str) -> str:
        """Answer with the prompt."""
        self.calls += 1
        return prompt


async def _timed(
    invoke: Callable[[], Awaitable[str]], agents: Agents, steps: int, each: int
) -> Measurement:
    runs = max(1, steps // each)
    check(await invoke(), "x")
    check(agents.calls, each)
    began = time.perf_counter()
    for _ in range(runs):
        answer = await invoke()
    seconds = time.perf_counter() - began
    check(answer, "x")
    check(agents.calls, each * (runs + 1))
    return Measurement(seconds, runs * each)


# -- callboard --------------------------------------------------------------------------------


def _ours(name: str, agents: Agents, system: Any) -> Any:
    from patterns import Broadcast, Choice, Pipeline, Router, Stage, Supervisor, Verdict

    async def review(draft: str) -> Verdict:
        agents.calls += 1
        return Verdict("accept", score=1.0)

    match name:
        case "step-pipeline":
            stages = [Stage(f"s{i}", agents.work) for i in range(WIDTH)]
            return Pipeline(stages, system=system)
        case "step-router":
            routes = {"one": agents.work, "other": agents.work}
            return Router(
                routes, lambda _: Choice("one", confidence=1.0), fallback="other", system=system
            )
        case "step-broadcast":
            recipients = {f"a{i}": agents.work for i in range(WIDTH)}
            return Broadcast(recipients, lambda replies: replies[0].text, system=system)
        case _:
            return Supervisor(agents.work, review, system=system)


async def _callboard(name: str, steps: int, folder: Path | None) -> Measurement:
    """Measure one pattern; with services that keep their files in `folder`, if there is one."""
    from actors import ActorSystem, BudgetPool, DecisionLog, Tracer, run

    agents = Agents()
    async with ActorSystem("bench") as system, AsyncExitStack() as stack:
        pattern = _ours(name, agents, system)
        if folder is not None:
            decisions = DecisionLog(folder / "decisions.jsonl", system=system)
            stack.push_async_callback(decisions.close)
            tracer = Tracer(folder / "trace.jsonl", system=system)
            stack.push_async_callback(tracer.close)
            pool = BudgetPool(usd=1000, system=system)
            await stack.enter_async_context(run(budget=pool, log=decisions, tracer=tracer))

        async def invoke() -> str:
            return str((await pattern.run("x")).text)

        return await _timed(invoke, agents, steps, STEPS[name])


# -- langgraph --------------------------------------------------------------------------------


def _graph(name: str, agents: Agents) -> Any:
    from typing import TypedDict

    from langgraph.graph import END, START, StateGraph

    class State(TypedDict):
        text: str
        replies: Annotated[list[str], operator.add]

    async def work(state: Any) -> Any:
        return {"text": await agents.work(state["text"])}

    async def reply(state: Any) -> Any:
        return {"replies": [await agents.work(state["text"])]}

    async def review(state: Any) -> Any:
        agents.calls += 1
        return {}

    async def aggregate(state: Any) -> Any:
        return {"text": state["replies"][0]}

    graph = StateGraph(State)
    match name:
        case "step-pipeline":
            names = [f"s{i}" for i in range(WIDTH)]
            for stage in names:
                graph.add_node(stage, work)
            for one, following in zip([START, *names], [*names, END], strict=True):
                graph.add_edge(one, following)
        case "step-router":
            for label in ("one", "other"):
                graph.add_node(label, work)
                graph.add_edge(label, END)
            graph.add_conditional_edges(START, lambda _: "one", ["one", "other"])
        case "step-broadcast":
            graph.add_node("aggregate", aggregate)
            names = [f"a{i}" for i in range(WIDTH)]
            for recipient in names:
                graph.add_node(recipient, reply)
                graph.add_edge(START, recipient)
            graph.add_edge(names, "aggregate")
            graph.add_edge("aggregate", END)
        case _:
            graph.add_node("worker", work)
            graph.add_node("reviewer", review)
            graph.add_edge(START, "worker")
            graph.add_edge("worker", "reviewer")
            graph.add_conditional_edges("reviewer", lambda _: END, [END, "worker"])
    return graph.compile()


async def _langgraph(name: str, steps: int) -> Measurement:
    agents = Agents()
    compiled = _graph(name, agents)

    async def invoke() -> str:
        return str((await compiled.ainvoke({"text": "x", "replies": []}))["text"])

    return await _timed(invoke, agents, steps, STEPS[name])


def _enter(benchmark: Benchmark) -> None:
    name = benchmark.name

    @case(benchmark, "callboard-async")
    def full(steps: int) -> Measurement:
        with tempfile.TemporaryDirectory() as folder:
            return asyncio.run(_callboard(name, steps, Path(folder)))

    @case(benchmark, "callboard-bare")
    def bare(steps: int) -> Measurement:
        return asyncio.run(_callboard(name, steps, None))

    @case(benchmark, "langgraph", share=0.5)
    def graph(steps: int) -> Measurement:
        return asyncio.run(_langgraph(name, steps))


for _benchmark in (pipeline, router, broadcast, supervisor):
    _enter(_benchmark)


@case(pipeline, "autogen", share=0.5)
def _autogen(steps: int) -> Measurement:
    from benchmarks._autogen_agents import run_step

    return Measurement(asyncio.run(run_step(steps)), steps)
