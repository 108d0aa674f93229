"""The few facts of a GGUF model file that matter before it is loaded."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from actors._errors import UnknownModel

__all__ = ["trained_context"]

_MAGIC = b"GGUF"
# Type codes of the format; strings (8) and arrays (9) have a length of their own.
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING = 8
_ARRAY = 9
# Longer text is a sign of a damaged file, and must not be read into memory.
_LONGEST_KEY = 1 << 16


def trained_context(path: Path) -> int | None:
    """Return the context length a model was trained for, in tokens, or None if it does not say.

    Raises:
        UnknownModel: there is no such file, or it is no GGUF file.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != _MAGIC:
                raise UnknownModel(
                    str(path), "a GGUF model file; this one does not begin with the mark 'GGUF'"
                )
            return _find_context_length(file)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UnknownModel(str(path), f"a readable GGUF model file ({reason})") from error
    except (struct.error, KeyError, ValueError) as error:
        if isinstance(error, UnknownModel):
            raise
        raise UnknownModel(str(path), "a whole GGUF model file; its header is damaged") from error


def _find_context_length(file: BinaryIO) -> int | None:
    _version, _tensors, entries = struct.unpack("<IQQ", file.read(20))
    for _ in range(entries):
        key = _read_string(file)
        kind = _read_int(file, 4)
        if key.endswith(".context_length") and kind in _SIZES:
            return _read_int(file, _SIZES[kind])
        _skip(file, kind)
    return None


def _read_int(file: BinaryIO, size: int) -> int:
    data = file.read(size)
    if len(data) < size:
        raise ValueError("the file ends within its header")
    return int.from_bytes(data, "little")


def _read_string(file: BinaryIO) -> str:
    length = _read_int(file, 8)
    if length > _LONGEST_KEY:
        raise ValueError("a key is too long")
    return file.read(length).decode()


def _skip(file: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        file.seek(_read_int(file, 8), 1)
    elif kind == _ARRAY:
        element = _read_int(file, 4)
        count = _read_int(file, 8)
        if element in _SIZES:
            file.seek(_SIZES[element] * count, 1)
        else:
            for _ in range(count):
                _skip(file, element)
    else:
        file.seek(_SIZES[kind], 1)
