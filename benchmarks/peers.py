"""Savina's work where it must be written anew: xoscar and autogen-core, whose sends are awaited.

xoscar      actors in one process
autogen     autogen-core's SingleThreadedAgentRuntime
"""

from __future__ import annotations

import asyncio

from benchmarks._spec import Measurement, case
from benchmarks.savina import count, pingpong

__all__: list[str] = []


@case(pingpong, "xoscar", share=0.1)
def _xoscar_pingpong(pings: int) -> Measurement:
    from benchmarks._xoscar_actors import run_pingpong

    return Measurement(asyncio.run(run_pingpong(pings)), 2 * pings)


@case(count, "xoscar", share=0.05)
def _xoscar_count(messages: int) -> Measurement:
    from benchmarks._xoscar_actors import run_count

    return Measurement(asyncio.run(run_count(messages)), messages)


@case(pingpong, "autogen", share=0.1)
def _autogen_pingpong(pings: int) -> Measurement:
    from benchmarks._autogen_agents import run_pingpong

    return Measurement(asyncio.run(run_pingpong(pings)), 2 * pings)


@case(count, "autogen", share=0.01)
def _autogen_count(messages: int) -> Measurement:
    from benchmarks._autogen_agents import run_count

    return Measurement(asyncio.run(run_count(messages)), messages)
