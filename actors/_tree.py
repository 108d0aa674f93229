"""The tree of actors as data: its roots, and walks over what lives below them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors._children import Children
from actors._messages import TreeNode, shortened
from actors._ref import ActorRef

if TYPE_CHECKING:
    from actors._cell import Cell  # of its own layer, and only looked at

__all__ = ["Root", "all_below", "find_below", "living", "nodes_below"]


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
    cells: list[Cell] = []
    nodes = [node]
    while nodes:
        node = nodes.pop()
        if node.children is not None:
            # Only used in a forked process, where nobody will ever release a lock that was held.
            node.children.renew_lock()
            below = living(node)
            cells += below
            nodes += below
    return cells


def nodes_below(root: Root) -> tuple[TreeNode, ...]:
    """Describe what is below a root."""
    # No call for each level: the tree may be deeper than the stack.
    found: list[tuple[Cell, int, str]] = [(cell, -1, root.path) for cell in living(root)]
    paths: list[str] = []
    while len(paths) < len(found):
        index = len(paths)
        cell, _, above = found[index]
        paths.append(f"{above}/{cell.name}")
        found.extend((child, index, paths[index]) for child in living(cell))
    # The last one first, as each comes after its parent and its elder siblings.
    below: list[list[TreeNode]] = [[] for _ in range(len(found) + 1)]
    for index in reversed(range(len(found))):
        cell, parent, _ = found[index]
        below[parent].append(_node_of(cell, paths[index], tuple(reversed(below[index]))))
    return tuple(reversed(below[-1]))


def _node_of(cell: Cell, path: str, children: tuple[TreeNode, ...]) -> TreeNode:
    age = cell.age()
    hook = cell.hook
    return TreeNode(
        path=path,
        kind=cell.spec.cls.__name__,
        state=cell.state.name.lower(),
        waiting=len(cell.queue),
        restarts=cell.restarts,
        children=children,
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
