"""Money as whole nano-dollars, tokens as whole numbers.

Sums of integers are exact, so a cap of 0.3 holds exactly what 0.1 + 0.2 asks for, whatever the
order of the additions.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from functools import lru_cache

from actors._errors import InvalidOption

__all__ = ["Money", "nano_dollars", "tokens", "usd"]

Money = int | float | Decimal | str
"""What is accepted as an amount of USD."""

_NANO = Decimal(10**9)
_LIMIT = Decimal(10**15)
# An own context without traps: the thread's may raise, round otherwise or hold too few digits.
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN, Emax=999_999, Emin=-999_999, traps=[])


def nano_dollars(value: Money, option: str = "usd") -> int:
    """Return USD as nano-dollars, rounded to the nearest.

    Args:
        value: an amount of USD; a float counts as the decimal number it prints as.
        option: the name to blame in an error.

    Raises:
        InvalidOption: not a number, NaN, infinite, negative, or 10**15 and more.
    """
    expected = "an amount of USD from 0 to below 10**15"
    given: object = value
    if isinstance(given, bool) or not isinstance(given, (int, float, Decimal, str)):
        raise InvalidOption(option, value, expected)
    # float's own repr, because subclasses (numpy's) print themselves with a wrapper.
    plain = float.__repr__(value) if isinstance(value, float) else value
    nanos = _convert_text(plain) if isinstance(plain, str) else _convert(plain)
    if nanos is None:
        raise InvalidOption(option, value, expected)
    return nanos


def _convert(value: int | Decimal | str) -> int | None:
    try:
        amount = Decimal(value)
    except (InvalidOperation, ValueError):
        return None
    if not amount.is_finite() or not 0 <= amount < _LIMIT:
        return None
    return int(_EXACT.to_integral_value(_EXACT.multiply(amount, _NANO)))


# The same prices and limits come again and again.
_convert_text: Callable[[str], int | None] = lru_cache(1024)(_convert)


def usd(nanos: int) -> Decimal:
    """Return nano-dollars as USD, exactly."""
    return _EXACT.divide(Decimal(nanos), _NANO)


def tokens(value: int, option: str = "tokens") -> int:
    """Return `value` if it is a count of tokens.

    Raises:
        InvalidOption: not a whole number, or negative.
    """
    given: object = value
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise InvalidOption(option, value, "a whole number of tokens, 0 or more")
    return int(value)
