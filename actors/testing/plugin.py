"""The pytest plugin, which pytest loads by itself where callboard is installed."""

from actors.testing._marker import (
    pytest_addoption,
    pytest_configure,
    pytest_pyfunc_call,
    pytest_runtest_makereport,
    pytest_runtest_setup,
    pytest_terminal_summary,
    sim,
)

__all__ = [
    "pytest_addoption",
    "pytest_configure",
    "pytest_pyfunc_call",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
    "pytest_terminal_summary",
    "sim",
]
