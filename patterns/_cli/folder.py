"""The folder of a run: `result.md`, `run.json`, `decisions.jsonl` and `trace.jsonl`."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from decimal import Decimal
from pathlib import Path
from typing import Literal

import msgspec

from patterns._cli.inputs import Document, Refused

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
    """

    def __init__(self, path: Path) -> None:
        self.path = path

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
        made = [folder for folder in (path, *path.parents) if not folder.exists()]
        try:
            path.mkdir(parents=True, exist_ok=True)
            probe = path / f".{run_id}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            for folder in made:
                # What this call made, and nothing that somebody has put something into since.
                with contextlib.suppress(OSError):
                    folder.rmdir()
            reason = error.strerror or type(error).__name__
            raise Refused(f"{label}: cannot be written ({reason})") from None
        return cls(path)

    @property
    def decisions(self) -> Path:
        """The file of the decision log."""
        return self.path / "decisions.jsonl"

    @property
    def trace(self) -> Path:
        """The file of the tracer."""
        return self.path / "trace.jsonl"

    def write(self, record: RunRecord, result: str | None = None) -> None:
        """Write `run.json` and, if there is one, `result.md`; a crash leaves the old or the new.

        Raises:
            OSError: the disk is full, or the folder is gone.
        """
        if result is not None:
            self._replace("result.md", result.rstrip() + "\n")
        self._replace("run.json", record.to_json())

    def _replace(self, name: str, text: str) -> None:
        beside = self.path / f".{name}.new"
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            # A lone surrogate, which a shell can put into a request, has no UTF-8.
            file.write(re.sub(r"[\ud800-\udfff]", "\ufffd", text))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path / name)

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
