"""A broadcast in many simulations: agents are slow, fail, or hang, as the seed decides."""

from __future__ import annotations

import asyncio
import time

import pytest

from actors.testing._explore import Plan, explore
from actors.testing._outcome import Attempt
from patterns import Broadcast

AGENTS = 20


def agent(sim, number, fate):
    async def work(_):
        await asyncio.sleep(sim.random.uniform(0, 5))
        if fate == "fails":
            raise ValueError(number)
        if fate == "hangs":
            await asyncio.Event().wait()
        return f"{number}"

    work.__name__ = f"agent-{number}"
    return work


def broadcast(sim):
    fates = sim.random.choices(["answers", "fails", "hangs"], [8, 1, 1], k=AGENTS)
    pattern = Broadcast(
        [agent(sim, number, fate) for number, fate in enumerate(fates)],
        lambda replies: " ".join(reply.text for reply in replies),
        timeout=10,
    )

    async def run():
        return await pattern.run("go")

    result = sim.run(run())
    assert len(result.replies) == fates.count("answers")
    assert len(result.failures) == fates.count("fails")
    assert len(result.missing) == fates.count("hangs")
    assert result.complete == (fates.count("answers") == AGENTS)


@pytest.mark.slow
def test_two_hundred_seeds_of_a_broadcast_to_twenty_agents_take_less_than_ten_seconds():
    began = time.perf_counter()
    found = explore(Attempt(broadcast), Plan(seeds=200))
    assert time.perf_counter() - began < 10
    assert found.failure is None, found.failure.error
