"""Who runs the turns: the thread pool, an event loop, a pinned thread.

Layer 6, below `_system` and beside `_cell`: a dispatcher sees a mailbox that can take a turn
(`run` or `run_async`) and knows nothing of what happens in it. The modules do not import each
other; what takes the turns stands below them, a task in `_driver` and a thread in `_worker`.
"""
