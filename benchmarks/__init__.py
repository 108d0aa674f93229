"""Benchmarks: `python -m benchmarks`; how to read the figures is in README.md beside this.

_spec      what a benchmark is: names, peers, parameters, and one measurement
savina     Savina's micro set, written once for every runtime with pykka's calls
peers      the same work on asyncio queues, a bare deque, thespian, xoscar, autogen-core
asks       ask round trips, fan-out and gather
scale      spawn and stop, idle memory, waiting agents, and how cost grows
services   budget, decision log, and one pattern step beside langgraph's and autogen-core's
_worker    one measurement in a fresh process
_runner    alternating rounds, medians, ratios
_report    tables, JSON and the picture

Every measurement checks the answer it computed before its time counts.
"""
