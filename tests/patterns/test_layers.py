"""The layers that the docstring of `patterns` promises, held against the real imports."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import patterns

FOLDER = Path(patterns.__file__).parent


def layers():
    """The table in the docstring: module to layer."""
    table, layer = {}, -1
    for line in patterns.__doc__.split("```")[1].splitlines():
        found = re.match(r"layer (\d+) ", line)
        layer = int(found.group(1)) if found else layer
        names = line[8:46] if found else line[9:46]
        for name in re.findall(r"\w+", names):
            table[name] = layer
    return table


def imported(path):
    """The modules a file imports anywhere, fully named."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "patterns":
                yield from (f"patterns.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in {"__init__", "cli"})


def test_every_module_has_a_layer():
    assert set(MODULES) == set(layers())


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_strictly_lower_layers_and_only_the_facade_of_actors(module):
    table = layers()
    for name in imported(FOLDER / f"{module}.py"):
        top, _, rest = name.partition(".")
        if top == "actors":
            assert not rest, f"{module} imports {name}"
        elif top == "patterns":
            assert table[rest.split(".")[0]] < table[module], f"{module} imports {name}"
