"""What the services cost: leases of a budget, and records that are on the disk."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from benchmarks._spec import Measurement, case, check, define

__all__: list[str] = []

budget = define("budget", "leases", "callboard", {"leases": 10_000, "holders": 100}, ("leases",))
log = define("log", "records", "callboard", {"records": 5_000, "writers": 100}, ("records",))


@case(budget, "callboard-async")
def _budget(leases: int, holders: int) -> Measurement:
    """A hundred holders acquire, charge and return."""

    async def main() -> Measurement:
        from actors import ActorSystem, BudgetPool

        async with ActorSystem("bench") as system:
            pool = BudgetPool(usd=1000, system=system)
            each = max(1, leases // holders)

            async def holder() -> None:
                for _ in range(each):
                    async with pool.acquire(max_usd="0.01") as lease:
                        await lease.charge(usd="0.002")

            began = time.perf_counter()
            await asyncio.gather(*(holder() for _ in range(holders)))
            seconds = time.perf_counter() - began
            snapshot = await pool.snapshot()
            check(float(snapshot.settled_usd), round(0.002 * each * holders, 9))
            return Measurement(seconds, each * holders)

    return asyncio.run(main())


@case(log, "callboard-async")
def _log(records: int, writers: int) -> Measurement:
    """Records that are on the disk when they are acknowledged."""

    async def main(folder: str) -> Measurement:
        from actors import ActorSystem, DecisionLog

        path = Path(folder) / "decisions.jsonl"
        async with ActorSystem("bench") as system:
            decisions = DecisionLog(path, system=system)
            each = max(1, records // writers)

            async def writer(name: int) -> None:
                for i in range(each):
                    await decisions.record(decision="route", writer=name, number=i)

            began = time.perf_counter()
            await asyncio.gather(*(writer(i) for i in range(writers)))
            seconds = time.perf_counter() - began
            await decisions.close()
        check(len(path.read_bytes().splitlines()), each * writers)
        return Measurement(seconds, each * writers)

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(main(folder))


@case(log, "fsync-each", share=0.1)
def _log_alone(records: int, writers: int) -> Measurement:
    """One write and one fsync for each record: the disk's limit without grouping."""
    import os

    with tempfile.NamedTemporaryFile() as file:
        began = time.perf_counter()
        for i in range(records):
            file.write(b'{"decision":"route","number":%d}\n' % i)
            file.flush()
            os.fsync(file.fileno())
        return Measurement(time.perf_counter() - began, records)
