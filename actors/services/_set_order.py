"""Sets in an order that depends on nothing but what is in them, so that files are the same again.

Python iterates sets in the order of hashes, which differ from process to process. msgspec's own
`order="deterministic"` reorders mappings as well, and refuses sets of several types.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable
from typing import Any

import msgspec

__all__ = ["settled"]

_PLAIN = frozenset({str, int, float, bool, type(None)})

_encode = msgspec.json.Encoder(enc_hook=repr).encode


def settled(value: Any) -> Any:
    """Return the value with each set in it as a list in order; the same object if it has none.

    Numbers and texts are sorted as such, and whatever else a set holds by its JSON.
    """
    # Looked for first: that takes a third of the time, and few values have one.
    return _in_order(value) if _may_have_set(value) else value


def _may_have_set(value: Any) -> bool:
    kind = type(value)
    if kind in _PLAIN:
        return False
    if kind is dict:
        parts: Iterable[Any] = value.values()
    elif kind is list or kind is tuple:
        parts = value
    else:
        return True
    for part in parts:  # noqa: SIM110 - `any` with a generator takes twice as long
        if type(part) not in _PLAIN and _may_have_set(part):
            return True
    return False


def _in_order(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        items = [_in_order(item) for item in value]
        plain = {type(item) for item in items} in ({int}, {str})
        return sorted(items) if plain else sorted(items, key=_encode)
    if isinstance(value, dict):
        changes = _changes(value.items())
        return {**value, **changes} if changes else value
    if isinstance(value, (list, tuple)):
        changes = _changes(enumerate(value))
        return [changes.get(at, item) for at, item in enumerate(value)] if changes else value
    if isinstance(value, type):
        return value
    if isinstance(value, msgspec.Struct):
        names: Iterable[str] = value.__struct_fields__
    elif dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    else:
        # attrs; `getattr` with a default would ask objects that make up their attributes
        names = [field.name for field in getattr(type(value), "__attrs_attrs__", ())]
    changes = _changes((name, getattr(value, name)) for name in names if hasattr(value, name))
    if not changes:
        return value
    # A copy, since its type decides how it is encoded; not by `replace`, which would validate it.
    twin = copy.copy(value)
    for name, new in changes.items():
        if isinstance(twin, msgspec.Struct):
            msgspec.structs.force_setattr(twin, name, new)
        else:
            object.__setattr__(twin, name, new)
    return twin


def _changes(parts: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return those parts that have a set in them, by their key and in order."""
    pairs = ((key, part, settled(part)) for key, part in parts)
    return {key: new for key, part, new in pairs if new is not part}
