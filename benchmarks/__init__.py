"""Benchmarks: `python -m benchmarks`; how to read the figures is in README.md beside this.

_spec      what a benchmark is: names, peers, parameters, and one measurement
_runtimes  callboard, pykka, asyncio queues, a bare deque and thespian behind one way of writing
_askers    the peers that are asked from asyncio, behind another
savina     Savina's micro set, written once for all of `_runtimes`
peers      two of that set for xoscar and autogen-core, whose sends are awaited
asks       ask round trips, fan-out and gather, and agents that wait for a slow model
scale      spawn and stop, idle memory, look-ups, fairness
growth     how cost grows with actors, waiting messages and children
services   budget and decision log
simulation what a simulation costs
steps      one step of a pattern beside langgraph's and autogen-core's
stress     millions of messages while actors end, and the balance afterwards
erlang     what of all this bench.erl does on the BEAM
_worker    one measurement in a fresh process
_runner    alternating rounds, medians, ratios
_growth    the slope of a series of costs
_report    tables, JSON, and the figures of README.md
_plot      the picture

Every measurement checks the answer it computed before its time counts.
"""
