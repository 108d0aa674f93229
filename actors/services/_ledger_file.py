"""The file of a ledger that survives its process: one JSON line for each charge.

Only what was spent is kept. Reservations are promises among living actors and end with them.
Pure, but for reading the lines it is given.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from actors._errors import LedgerError
from actors.services._account import ZERO, Pair, plus

__all__ = ["Entry", "add_up", "encode", "is_entry"]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One charge.

    Attributes:
        ts: when it was booked, in seconds since the Unix epoch.
        holder: who spent it.
        nano_usd: how much, in nano-dollars.
        tokens: and how many tokens.
    """

    ts: float
    holder: str
    nano_usd: int
    tokens: int


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


def is_entry(line: bytes) -> bool:
    """Tell whether a line was written by a ledger, completely."""
    try:
        _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def add_up(name: str, lines: Iterable[bytes]) -> dict[str, Pair]:
    """Return what each holder spent.

    Raises:
        LedgerError: a line is damaged, so the sum would be wrong; the text says which.
    """
    spent: dict[str, Pair] = {}
    for number, line in enumerate(lines, 1):
        try:
            entry = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise LedgerError(f"{name}, line {number} is no entry of a ledger: {error}") from error
        amount = Pair(entry.nano_usd, entry.tokens)
        spent[entry.holder] = plus(spent.get(entry.holder, ZERO), amount)
    return spent
