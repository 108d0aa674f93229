"""The tree of actors as data: its roots, and walks over what lives below them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors._children import Children
from actors._messages import TreeNode, shortened
from actors._ref import ActorRef

if TYPE_CHECKING:
    from actors._cell import Cell  # of its own layer, and only looked at

__all__ = ["Root", "all_below", "find_below", "living", "node_of"]


class Root:
    """A root of the tree: the parent of actors that no actor spawned."""

    __slots__ = ("children", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.children: Children | None = None


def living(node: Any) -> list[Cell]:
    """Return the children of a cell or root, in start order."""
    return node.children.snapshot() if node.children is not None else []


def all_below(node: Any) -> list[Cell]:
    """Return everything below a cell or root."""
    if node.children is None:
        return []
    # Only used in a forked process, where nobody will ever release a lock that was held.
    node.children.renew_lock()
    cells = living(node)
    for cell in list(cells):
        cells.extend(all_below(cell))
    return cells


def node_of(cell: Cell) -> TreeNode:
    """Describe a cell and what is below it."""
    age = cell.age()
    hook = cell.hook
    return TreeNode(
        path=cell.path,
        kind=cell.spec.cls.__name__,
        state=cell.state.name.lower(),
        waiting=len(cell.queue),
        restarts=cell.restarts,
        children=tuple(map(node_of, living(cell))),
        message=None if age is None or hook is not None else shortened(cell.item),
        age=age,
        hook=hook,
    )


def find_below(user: Root, services: Root, path: str) -> ActorRef[Any] | None:
    """Return the living actor at a path, or None.

    Args:
        user, services: the roots; the latter is at "/system".
        path: parts that are names, given or generated.
    """
    parts = [part for part in path.split("/") if part]
    node: Any = user
    if parts and parts[0] == "system":
        node, parts = services, parts[1:]
    if not parts:
        return None
    for part in parts:
        if node.children is None:
            return None
        found = node.children.get(part)
        if found is None:
            _, _, number = part.rpartition("-")
            found = node.children.get(int(number)) if number.isdecimal() else None
            if found is not None and found.name != part:
                found = None
        if found is None:
            return None
        node = found
    return node.ref  # type: ignore[no-any-return]
