"""The folder of a run: `result.md`, `run.json`, `decisions.jsonl` and `trace.jsonl`."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Literal

import msgspec

from patterns._cli.inputs import Document, Refused, clean

__all__ = ["Folder", "InputRecord", "RouteRecord", "RunRecord", "Versions", "new_run_id"]

RUNS = "runs"
"""Where runs go that are not told where, below the current directory."""

_FILES = ("result.md", "run.json", "decisions.jsonl", "trace.jsonl")


class InputRecord(msgspec.Struct, frozen=True):
    """An input as it was: `bytes` is its size."""

    name: str
    path: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, document: Document) -> InputRecord:
        """Return the record of a document."""
        return cls(document.name, document.path, document.size, document.sha256)


class RouteRecord(msgspec.Struct, frozen=True):
    """The desk that worked on the request, and why it was this one.

    Attributes:
        taken: the desk.
        why: "confident", or what made the router take the fallback.
        wanted: what most ballots said, or None if there were none.
        confidence: their share, 0 to 1.
        explanation: the same in words.
    """

    taken: str
    why: str
    wanted: str | None
    confidence: float | None
    explanation: str


class Versions(msgspec.Struct, frozen=True):
    """What ran."""

    callboard: str
    python: str
    platform: str


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What `run.json` holds.

    Attributes:
        run_id: the run's name in decisions and trace.
        request, inputs, model: what was asked, about what, of which model.
        status: "running", "done", "partial", "halted" (budget or deadline), "failed" or
            "interrupted".
        reason: why it ended so, in words.
        route: None if it did not come to that.
        started, ended: seconds since the Unix epoch.
        seconds: how long it took.
        tokens, input_tokens, output_tokens: what the models used; `tokens` also counts calls
            that were cut off, which report no division.
        calls: how many calls of a model were answered.
        cost_usd: None if the price of anything is unknown; 0 only if all was free.
        budget_usd, max_tokens, deadline_seconds: the limits, or None.
        versions: what ran.
        result: what `result.md` holds.
    """

    run_id: str
    request: str
    inputs: tuple[InputRecord, ...]
    model: str
    status: Literal["running", "done", "partial", "halted", "failed", "interrupted"] = "running"
    reason: str = ""
    route: RouteRecord | None = None
    started: float
    ended: float | None = None
    seconds: float | None = None
    tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0
    cost_usd: Decimal | None = None
    budget_usd: float | None = None
    max_tokens: int | None = None
    deadline_seconds: float | None = None
    versions: Versions
    result: str = ""

    def to_json(self) -> str:
        """Return it as an indented JSON document."""
        encoder = msgspec.json.Encoder(decimal_format="number")
        return msgspec.json.format(encoder.encode(self), indent=2).decode() + "\n"


def new_run_id() -> str:
    """Return a name that sorts by time and is not taken: `20260131-235959-a1b2`."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


class Folder:
    """The folder of one run.

    Attributes:
        path: where it is.

    Args:
        path: likewise.
        made: the folders that were made for it, innermost first.
    """

    def __init__(self, path: Path, made: Sequence[Path] = ()) -> None:
        self.path = path
        self._made = made

    @classmethod
    def create(cls, out: Path | None, run_id: str) -> Folder:
        """Make the folder, or take an existing one that holds no run.

        Raises:
            Refused: it cannot be written, or holds a run.
        """
        path = out if out is not None else Path(RUNS) / run_id
        label = f"--out {path}"
        for name in _FILES:
            if os.path.lexists(path / name):
                raise Refused(
                    f"{label}: already holds a run ({name}); choose another folder, or leave "
                    "--out away to get a fresh one"
                )
        made: list[Path] = []
        try:
            made += [folder for folder in (path, *path.parents) if not folder.exists()]
            path.mkdir(parents=True, exist_ok=True)
            probe = path / f".{run_id}"
            probe.touch()
            probe.unlink()
        except (OSError, ValueError) as error:
            refused = cls(path, made)
            refused._withdraw()
            raise refused._unwritable(error) from None
        return cls(path, made)

    @property
    def decisions(self) -> Path:
        """The file of the decision log."""
        return self.path / "decisions.jsonl"

    @property
    def trace(self) -> Path:
        """The file of the tracer."""
        return self.path / "trace.jsonl"

    def begin(self, record: RunRecord) -> None:
        """Write `run.json` for the first time.

        Raises:
            Refused: that is not possible; nothing is left of the folder.
        """
        try:
            self.write(record)
        except OSError as error:
            self._withdraw()
            raise self._unwritable(error) from None

    def write(self, record: RunRecord, result: str | None = None) -> None:
        """Write `run.json` and, if there is one, `result.md`; a crash leaves the old or the new.

        Raises:
            OSError: the disk is full, or the folder is gone.
        """
        failure: OSError | None = None
        texts = {"run.json": record.to_json()}
        if result is not None:
            texts = {"result.md": result.rstrip() + "\n", **texts}
        for name, text in texts.items():
            try:
                self._replace(name, text)
            except OSError as error:
                # What there is room for is written all the same.
                failure = failure or error
        if failure is not None:
            if result is not None:
                self._overwrite("run.json", msgspec.structs.replace(record, result="").to_json())
            raise failure

    def _overwrite(self, name: str, text: str) -> None:
        """Write over a file if that takes no more room, where there is none for a new one.

        Else `run.json` would tell forever that the run is still going on.
        """
        data = clean(text).encode()
        with contextlib.suppress(OSError), (self.path / name).open("r+b") as file:
            held = getattr(os.fstat(file.fileno()), "st_blocks", 0) * 512
            if msgspec.json.decode(file.read()).get("status") == "running" and len(data) <= held:
                file.seek(0)
                file.write(data)
                file.truncate()

    def _replace(self, name: str, text: str) -> None:
        beside = self.path / f".{name}.new"
        try:
            with beside.open("w", encoding="utf-8", newline="\n") as file:
                file.write(clean(text))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path / name)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise

    def _withdraw(self) -> None:
        for folder in self._made:
            # What was made for this run, and nothing that somebody has put something into since.
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _unwritable(self, error: Exception) -> Refused:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Refused(f"--out {self.path}: cannot be written ({reason})")

    @staticmethod
    def read(path: Path) -> RunRecord | None:
        """Return the record of the run in a folder, or None if there is none.

        Raises:
            Refused: its `run.json` cannot be read or is damaged.
        """
        file = path / "run.json"
        try:
            return msgspec.json.decode(file.read_bytes(), type=RunRecord)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise Refused(f"{file}: cannot be read as the record of a run ({error})") from None
