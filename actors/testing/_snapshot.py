"""Runs as snapshots: stored in canonical form, compared by class of difference.

The storing, finding and updating is syrupy's (extra `testing`): `pytest --snapshot-update` writes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from actors._errors import InvalidOption, MissingExtra
from actors.testing._canonical import canonical
from actors.testing._capture import RunCapture
from actors.testing._captured import CapturedRun, read_run
from actors.testing._difference import Difference, compare
from actors.testing._form import CanonicalRun

try:
    from syrupy.assertion import AssertionResult, SnapshotAssertion
    from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
except ImportError as error:
    raise MissingExtra("testing") from error

__all__ = ["RunSnapshot", "to_canonical"]


def to_canonical(run: Any, mask: tuple[str, ...] = ()) -> CanonicalRun:
    """Return the canonical form of a capture, a captured run, or the folder of a `callboard run`.

    Raises:
        InvalidOption: it is none of these.
        RunUnreadable: the folder cannot be read.
    """
    if isinstance(run, CanonicalRun):
        return run
    if isinstance(run, RunCapture):
        run = run.run
    if isinstance(run, (str, Path)):
        run = read_run(run)
    if not isinstance(run, CapturedRun):
        raise InvalidOption("run", run, "a RunCapture, a CapturedRun, or the folder of a run")
    return canonical(run, mask)


class _RunExtension(SingleFileSnapshotExtension):
    """How syrupy stores and compares runs; made for each tolerance."""

    file_extension = "run.json"
    _write_mode = WriteMode.TEXT
    cost: ClassVar[float] = 0.0
    tokens: ClassVar[float | None] = None
    mask: ClassVar[tuple[str, ...]] = ()

    def serialize(self, data: Any, **_: Any) -> str:
        return to_canonical(data, self.mask).to_json()

    def matches(self, *, serialized_data: Any, snapshot_data: Any) -> bool:
        return not self._difference(serialized_data, snapshot_data)

    def diff_lines(self, serialized_data: Any, snapshot_data: Any) -> Iterator[str]:
        if not snapshot_data:
            yield "no run is stored: `pytest --snapshot-update` stores this one, but never in CI"
            yield ""
            yield from (f"+ {line}" for line in CanonicalRun.from_json(serialized_data).lines())
            return
        yield from self._difference(serialized_data, snapshot_data).lines()

    def _difference(self, new: Any, old: Any) -> Difference:
        try:
            stored = CanonicalRun.from_json(old)
        except msgspec.MsgspecError as error:
            raise InvalidOption(
                "snapshot", old[:60], f"a stored run; write it anew ({error})"
            ) from error
        return compare(stored, CanonicalRun.from_json(new), cost=self.cost, tokens=self.tokens)


# One for each tolerance: syrupy finds what it is yet to write by the very class.
@functools.cache
def _extension(cost: float, tokens: float | None, mask: tuple[str, ...]) -> type[_RunExtension]:
    options = {"cost": cost, "tokens": tokens, "mask": mask}
    return type("_RunExtension", (_RunExtension,), options)


class RunSnapshot:
    """The stored runs of one test; the fixture `run_snapshot`.

    `assert capture == run_snapshot` compares with the next stored run of the test;
    `assert capture == run_snapshot(cost=0.1, name="fast")` does so with tolerances and by a name.

    Args:
        snapshot: syrupy's own.
        report: told how a run differs; pytest cuts the explanations of assertions short.
        frozen: whether nothing may be written, whatever the options say.
        again: whether the test has run in this session before: what it stored then is compared.
    """

    def __init__(
        self,
        snapshot: SnapshotAssertion,
        report: Callable[[str], None],
        *,
        frozen: bool,
        again: bool = False,
    ) -> None:
        # Invariant: all that are made of one another share it, since it numbers the runs.
        self._snapshot = snapshot
        self._report = report
        if frozen:
            snapshot.update_snapshots = False
            snapshot.update_new_snapshots_only = False
        elif again and snapshot.update_snapshots:
            snapshot.update_snapshots = False
            snapshot.update_new_snapshots_only = True
        self._extension: type[_RunExtension] = _RunExtension
        self._name: str | None = None

    def __call__(
        self,
        *,
        cost: float = 0.0,
        tokens: float | None = None,
        mask: tuple[str, ...] = (),
        name: str | None = None,
    ) -> RunSnapshot:
        """Return what to compare the next run with.

        Args:
            cost: by which share cost may be higher than the stored; 0.1 is 10 %.
            tokens: the same of tokens; None is `cost`.
            mask: regular expressions of what else differs each time.
            name: names the stored run; None numbers them.
        """
        found = RunSnapshot(self._snapshot, self._report, frozen=False)
        found._extension = _extension(cost, tokens, tuple(mask))
        found._name = name
        return found

    def __eq__(self, run: object) -> bool:
        same = self._snapshot(extension_class=self._extension, name=self._name) == run
        error = self._last().exception
        if error is not None:
            raise error
        if not same:
            self._report("\n".join(self._lines()))
        return same

    __hash__ = None  # type: ignore[assignment]  # what it is equal to changes with each comparison

    def __repr__(self) -> str:
        return "<RunSnapshot>" if self._name is None else f"<RunSnapshot {self._name}>"

    def _last(self) -> AssertionResult:
        return self._snapshot.executions[self._snapshot.num_executions - 1]

    def _lines(self) -> list[str]:
        last = self._last()
        return list(self._extension().diff_lines(last.asserted_data, last.recalled_data))

    def summary(self) -> list[str]:
        """Return how the run that was compared last differs, without the diff."""
        lines = self._lines()
        return lines[: lines.index("")] if "" in lines else lines[:1]
