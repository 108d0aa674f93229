"""What a simulation costs: to begin one, for each message, and for a team with faults."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._spec import Measurement, case, check, define

__all__: list[str] = []

messages = define(
    "simulate-messages",
    "messages",
    "callboard",
    {"pingpongs": 50_000, "fanouts": 1_000, "receivers": 100},
    ("pingpongs", "fanouts"),
)
start = define("simulate-start", "simulations", "callboard", {"simulations": 500}, ("simulations",))
broadcast = define(
    "simulate-broadcast", "seeds", "callboard", {"seeds": 200, "agents": 20}, ("seeds",)
)


@case(messages, "callboard")
def _messages(pingpongs: int, fanouts: int, receivers: int) -> Measurement:
    """Two actors tell each other numbers; one tells a hundred others, again and again."""
    from actors import Actor
    from actors.testing import Simulation

    class Ping(Actor):
        def on_receive(self, message: Any) -> None:
            left, other = message
            if left:
                other.tell((left - 1, self.actor_ref))

    class Receiver(Actor):
        handled = 0

        def on_receive(self, message: Any) -> None:
            Receiver.handled += 1

    class Fan(Actor):
        def on_start(self) -> None:
            self.receivers = [self.spawn(Receiver) for _ in range(receivers)]

        def on_receive(self, message: Any) -> None:
            for receiver in self.receivers:
                receiver.tell(message)

    with Simulation() as sim:
        one, other = sim.system.spawn(Ping), sim.system.spawn(Ping)
        began = time.perf_counter()
        one.tell((2 * pingpongs - 1, other))
        sim.run()
        back_and_forth = time.perf_counter() - began
        check(sim.system.stats().handled, 2 * pingpongs)
    with Simulation() as sim:
        fan = sim.system.spawn(Fan)
        sim.run()
        began = time.perf_counter()
        for number in range(fanouts):
            fan.tell(number)
        sim.run()
        fan_out = time.perf_counter() - began
        check(Receiver.handled, fanouts * receivers)
    count = fanouts * (receivers + 1)
    return Measurement(
        back_and_forth + fan_out,
        2 * pingpongs + count,
        {"pingpong_us": 1e6 * back_and_forth / (2 * pingpongs), "fanout_us": 1e6 * fan_out / count},
    )


@case(start, "callboard")
def _start(simulations: int) -> Measurement:
    """A simulation begins, one actor answers one request, and it ends, all checked."""
    from actors import Actor
    from actors.testing import Simulation

    class Echo(Actor):
        def on_receive(self, message: Any) -> Any:
            return message

    with Simulation() as sim:
        sim.system.spawn(Echo).ask(0)  # imports, and what is made once in a process
    began = time.perf_counter()
    for seed in range(simulations):
        with Simulation(seed) as sim:
            check(sim.system.spawn(Echo).ask(seed), seed)
    seconds = time.perf_counter() - began
    return Measurement(seconds, simulations, {"each_ms": 1e3 * seconds / simulations})


@case(broadcast, "callboard-async")
def _broadcast(seeds: int, agents: int) -> Measurement:
    """A broadcast to twenty agents, with a budget and a log, while everything goes wrong."""
    from actors import BudgetPool, DecisionLog, Supervision, run
    from actors.testing import Simulation
    from patterns import Broadcast, join

    def answer(number: int) -> Any:
        async def work(given: str) -> str:
            return f"{given} {number}"

        return work

    events = hits = replies = 0
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        for seed in range(seeds):
            path = Path(folder) / f"{seed}.jsonl"
            with Simulation(seed, supervision=Supervision(intensity=1_000)) as sim:
                pool, log = BudgetPool(usd=1), DecisionLog(path)
                faults = sim.faults
                faults.crash("/agent-*", rate=0.05)
                faults.crash("/agent-*", rate=0.05, when="after")
                faults.delay(source="/agent-*", seconds=(0, 2), rate=0.2)
                faults.reorder(rate=0.2)
                faults.clock_jump((0, 0.1), rate=0.05)
                faults.short_writes(rate=0.2)
                team = {f"agent-{number}": answer(number) for number in range(agents)}
                ask = Broadcast(team, join(), timeout=60)

                async def main(ask: Any, pool: Any, log: Any) -> Any:
                    async with run(budget=pool, log=log):
                        return await ask.run("x")

                result = sim.run(main(ask, pool, log))
                check(len(result.replies) + len(result.failures), agents)
                replies += len(result.replies)
                log.close()
                pool.close()
            events += len(sim.history)
            hits += len(sim.history.of("fault"))
        seconds = time.perf_counter() - began
    check(hits > 0 and 0 < replies < seeds * agents, True)
    extra = {"each_ms": 1e3 * seconds / seeds, "events": events / seeds, "faults": hits / seeds}
    return Measurement(seconds, seeds, extra)
