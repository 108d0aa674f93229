"""The pytest plugin, which pytest loads by itself where callboard is installed.

- marker `simulate` and fixture `sim`: run a test in many simulations (`_marker`).
"""

pytest_plugins = ["actors.testing._marker"]
