"""Probes, doubles and captured runs inside a simulation: on virtual time, whatever the seed."""

from __future__ import annotations

import asyncio

import pytest

from actors import Actor, Agent
from actors.testing import (
    ExpectationFailed,
    FaultyModel,
    ScriptedModel,
    ScriptedReply,
    Simulation,
    TestProbe,
    canonical,
    capture_run,
)
from patterns import Broadcast, Pipeline, Retry, Stage, join

HOUR = 3600.0


def by(agent):
    return lambda call: call.agent == agent


def test_a_probe_waits_hours_of_virtual_time():
    with Simulation(seed=1) as sim:
        probe = TestProbe(sim.system)
        probe.expect_none(within=HOUR)
        with pytest.raises(ExpectationFailed, match="within 3600 s"):
            probe.expect("nothing", timeout=HOUR)
        assert sim.clock.now == 2 * HOUR
        question = probe.ref.request("how much?")
        probe.expect("how much?")
        probe.reply(42)
        assert question.get() == 42


def test_a_probe_is_awaited_in_a_simulation_too():
    async def waits(probe, watched):
        probe.ref.tell("here")
        await probe.aio.expect("here")
        await probe.aio.expect_none(within=HOUR)
        probe.watch(watched)
        watched.stop(block=False)
        return await probe.aio.expect_terminated(watched)

    with Simulation(seed=2) as sim:
        ended = sim.run(waits(TestProbe(sim.system), sim.system.spawn(Actor)))
    assert ended.reason == "stopped"


def test_a_team_has_the_same_form_whoever_is_faster_and_whatever_the_interleaving():
    forms = set()
    for seed in range(40):
        seconds = {"alice": 60, "bob": HOUR} if seed % 2 else {"alice": HOUR, "bob": 60}
        with Simulation(seed=seed) as sim:
            script = [
                (by("alice"), ScriptedReply("A", latency=seconds["alice"])),
                (by("bob"), ScriptedReply("B", latency=seconds["bob"])),
                (by("editor"), "the end"),
            ]
            with ScriptedModel(script) as model, capture_run(system=sim.system) as capture:
                readers = {name: Agent(model, name=name) for name in ("alice", "bob")}
                editor = Stage("edit", Agent(model, name="editor"))
                team = Pipeline([Stage("read", Broadcast(readers, join())), editor])
                capture.result = team.run("the text").get()
        assert {name: capture.run.latency(name) for name in readers} == seconds
        forms.add(canonical(capture.run).to_json())
    assert len(forms) == 1


def test_what_comes_after_a_broadcast_in_the_same_instant_comes_after_it():
    for seed in range(10):
        with Simulation(seed=seed) as sim:
            model = ScriptedModel([ScriptedReply("x", times=None)])
            readers = {name: Agent(model, name=name) for name in ("zoe", "bob")}
            with capture_run(system=sim.system) as capture:
                capture.result = Broadcast(readers, Agent(model, name="chief")).run("hi").get()
        assert capture.run.seconds == 0
        (team,) = canonical(capture.run).steps
        assert [step.kind for step in team.steps] == ["side by side", "agent"]
        assert team.steps[1].name == "chief"


@pytest.mark.parametrize(("latency", "captured"), [(4.0, 1), (6.0, 0)])
def test_a_capture_waits_five_seconds_for_what_nobody_waited_for(latency, captured):
    def block():
        model = ScriptedModel([ScriptedReply("x", latency=latency)])
        with capture_run(system=sim.system) as capture:
            Agent(model, name="writer").run("hello")
            sim.run(seconds=0.5)  # it has begun
        return capture.run

    with Simulation() as sim:
        assert len(block().model_calls()) == captured

    async def awaited():
        model = ScriptedModel([ScriptedReply("x", latency=latency)])
        async with capture_run(system=sim.system) as capture:
            left = Agent(model, name="writer").run("hello")
            await asyncio.sleep(0.5)
        assert left.done() is bool(captured)
        return capture.run

    with Simulation() as sim:
        assert len(sim.run(awaited()).model_calls()) == captured


def test_faults_and_retries_go_the_same_way_for_the_same_seed():
    def attempts(seed):
        with Simulation(seed=3) as sim, capture_run(system=sim.system) as capture:
            inner = ScriptedModel([ScriptedReply("fine", times=None)])
            model = FaultyModel(inner, seed=seed, slow=(1.0, (1, 5)), failing=0.5, late=0.2)
            writer = Agent(model, name="writer", timeout=30)
            capture.result = Retry(writer, attempts=10).run("hello").get()
        return [fault.kind for fault in model.faults], capture.run.seconds

    assert len({str(attempts(seed)) for seed in range(8)}) > 3, "seeds differ"
    assert attempts(4) == attempts(4)
