"""The actors callboard ships: budget, decisions, bus, tracing, and the scope that joins them.

Each public class is a handle on one actor and works in sync and in async code: what answers
returns a `Future`; what is a scope is both a `with` and an `async with`.

Layers, each importing strictly lower ones:

1. `_money`, `_topics`, `_genai`, `_append_file`: values, names, lines on a disk;
2. `_account`, `_ledger`, `_ledger_file`, `_decision_file`, `_subscriptions`, `_summary`: pure
   decisions, without a thread, a loop or a clock;
3. `_errand`, `_span`, `_decision_storage`, and the actors `_budget_keeper`, `_decision_keeper`;
4. the handles `budget`, `decisions`, `bus`, `tracing`;
5. `run`, which puts them into a run context.

The services do not import each other: what one knows of another travels in the `RunContext` and
is asked for by name (`span.span_id`). Nothing here imports the facade.
"""
