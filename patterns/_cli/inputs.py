"""What a run works on: the request, and the files that were given with it."""

from __future__ import annotations

import hashlib
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from actors import CallboardError

__all__ = ["Assignment", "Document", "Refused", "above_zero", "clean", "read_documents"]

STDIN = "-"

# What tells a source file from prose. Only the default route and the wording of prompts depend
# on it.
_SOURCE = frozenset(
    [
        ".c",
        ".cc",
        ".cpp",
        ".cs",
        ".css",
        ".go",
        ".h",
        ".hpp",
        ".html",
        ".java",
        ".jl",
        ".js",
        ".jsx",
        ".kt",
        ".lua",
        ".php",
        ".pl",
        ".py",
        ".pyi",
        ".r",
        ".rb",
        ".rs",
        ".scala",
        ".sh",
        ".sql",
        ".swift",
        ".tcl",
        ".toml",
        ".ts",
        ".tsx",
        ".vue",
        ".yaml",
        ".yml",
        ".zig",
    ]
)
# Control characters that no text file has; tab, line ends, form feed and escape are fine.
_UNPRINTABLE = frozenset(range(32)) - set(b"\t\n\r\f\x1b")


class Refused(CallboardError):
    """The command cannot begin with what it was given (exit code 2)."""


class Document(msgspec.Struct, frozen=True):
    """One input.

    Attributes:
        name: its file name.
        path: where it was read from.
        text: what is in it.
        size: in bytes.
        sha256: of these bytes, in hexadecimal.
    """

    name: str
    path: str
    text: str
    size: int
    sha256: str

    @property
    def is_source(self) -> bool:
        """Whether its name is that of a source file."""
        return Path(self.name).suffix.lower() in _SOURCE


class Assignment(msgspec.Struct, frozen=True):
    """A request and the documents it is about."""

    request: str
    documents: tuple[Document, ...] = ()

    @property
    def text(self) -> str:
        """The request, then each document under its name."""
        parts = [
            self.request,
            *(f"{document.name}:\n{document.text}" for document in self.documents),
        ]
        return "\n\n".join(parts)

    @property
    def is_source(self) -> bool:
        """Whether all documents, and at least one, are source files."""
        return bool(self.documents) and all(document.is_source for document in self.documents)


def read_documents(paths: Sequence[str]) -> tuple[Document, ...]:
    """Read the input files; `-` is the standard input.

    Raises:
        Refused: one of them is missing, a directory, empty or no UTF-8 text.
    """
    if list(paths).count(STDIN) > 1:
        raise Refused("--input -: the standard input can be read only once")
    return tuple(_read(path) for path in paths)


def _read(path: str) -> Document:
    label = f"--input {path}"
    if not path.strip():
        raise Refused("--input: the name of the file is empty")
    try:
        data = sys.stdin.buffer.read() if path == STDIN else Path(path).read_bytes()
    except IsADirectoryError:
        raise Refused(f"{label}: is a directory; give the files in it one by one") from None
    except FileNotFoundError:
        raise Refused(f"{label}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise Refused(f"{label}: cannot be read ({_reason(error)})") from None
    if not data.strip():
        raise Refused(f"{label}: is empty")
    try:
        # Editors on Windows begin UTF-8 files with a byte order mark.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(
            f"{label}: is no UTF-8 text (byte 0x{data[error.start]:02x} at offset {error.start}); "
            "convert it, for example with iconv -t utf-8"
        ) from None
    unprintable = next((place for place, byte in enumerate(data) if byte in _UNPRINTABLE), None)
    if unprintable is not None:
        raise Refused(
            f"{label}: is a binary file (byte 0x{data[unprintable]:02x} at offset {unprintable}); "
            "inputs are text, Markdown or source files"
        )
    name = "stdin" if path == STDIN else Path(path).name
    return Document(clean(name), clean(path), text, len(data), hashlib.sha256(data).hexdigest())


def clean(text: str) -> str:
    """Return a text that has a UTF-8: of a byte that is none, a shell makes a lone surrogate."""
    return re.sub(r"[\ud800-\udfff]", "\ufffd", text)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def above_zero(option: str, value: float | None, unit: str, least: float = 0) -> None:
    """Refuse an amount that is not a finite number above zero; None is no limit.

    Raises:
        Refused: it is NaN, infinite, negative or zero, or below `least`.
    """
    if value is not None and not (math.isfinite(value) and value > 0):
        raise Refused(f"{option} {value:g}: expected a finite number of {unit} above zero")
    if value is not None and value < least:
        raise Refused(f"{option} {value:g}: expected at least {least:.9f} {unit}")
