"""The engine of one actor.

A cell is a mailbox that knows what to do with what is in it. Whoever holds its permit runs
its turn and is the only one to change what belongs to the actor; everybody else posts to the
control lane. The same life cycle serves sync and async actors: it is written as coroutines, which
a thread drives with `complete` (they must not suspend there) and a loop awaits.

The class is built in layers, each in a module that imports only those before it:

_state    fields, identity, shared pieces
_duties   owed replies, watching, timers, stash
_life     start, failure, restart, end
_orders   the orders that cause them, and what becomes of what is left when dead
_kill     cancelling and abandoning
_handling one message: whether it is wanted, its handler, its answer
_turns    taking turns: the class `Cell`
_lone     the actor without a supervisor, as pykka's are: the class `LoneCell`
"""

from actors._cell._life import bind_defaults
from actors._cell._lone import LoneCell
from actors._cell._state import renew_locks
from actors._cell._turns import Cell

__all__ = ["Cell", "LoneCell", "bind_defaults", "renew_locks"]
