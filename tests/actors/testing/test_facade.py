"""The facade of the test kit offers what it lists, when it is used."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from actors import CallboardError, ModelError, testing
from actors.testing import _errors


def test_the_facade_lists_exactly_what_it_offers():
    assert testing.__all__ == sorted(set(testing.__all__)) == sorted(testing._LAZY)
    assert all(getattr(testing, name) is not None for name in testing.__all__)
    assert dir(testing) == testing.__all__
    tree = ast.parse(Path(testing.__file__).read_text(encoding="utf-8"))
    promised = next(node for node in tree.body if isinstance(node, ast.If)).body
    assert {alias.name for node in promised for alias in node.names} == set(testing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = testing.nothing


def test_no_error_of_the_kit_can_be_taken_for_a_failure_of_a_model():
    errors = [
        error
        for error in vars(_errors).values()
        if isinstance(error, type) and error.__module__ == _errors.__name__
    ]
    assert len(errors) == 14
    assert all(issubclass(error, CallboardError) for error in errors)
    assert not any(issubclass(error, ModelError) for error in errors)
