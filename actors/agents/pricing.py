"""What a call costs, in USD.

Money is `Decimal` here. An unknown price is None and never 0: whoever spends under a cap has to
decide what to do about it.
"""

from __future__ import annotations

import importlib
from decimal import Decimal, InvalidOperation

import msgspec

from actors._errors import InvalidOption
from actors.agents._types import Usage

__all__ = ["Price", "price", "worst_case"]

_PER = Decimal(1_000_000)


class Price(msgspec.Struct, frozen=True):
    """A price you give yourself, in USD for a million tokens.

    Args:
        input_per_mtok: for the prompt. Decimal; int, float and str are converted.
        output_per_mtok: for the answer.
        cached_per_mtok: for the part of the prompt from a cache; None: as `input_per_mtok`.

    Raises:
        InvalidOption: one of them is negative or not a finite number.
    """

    input_per_mtok: Decimal
    output_per_mtok: Decimal
    cached_per_mtok: Decimal | None = None

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if value is not None or field != "cached_per_mtok":
                msgspec.structs.force_setattr(self, field, _to_decimal(field, value))

    def cost(self, usage: Usage) -> Decimal:
        """Return what this usage costs, in USD."""
        cached_price = self.cached_per_mtok
        if cached_price is None:
            cached_price = self.input_per_mtok
        return (
            (usage.input_tokens - usage.cached_tokens) * self.input_per_mtok
            + usage.cached_tokens * cached_price
            + usage.output_tokens * self.output_per_mtok
        ) / _PER


def price(model: str, usage: Usage, provider: str | None = None) -> Decimal | None:
    """Return what a call cost at list prices, in USD, or None when that is unknown.

    The prices come from the package genai-prices, without a network; without the package (extra
    `pricing`) every price is unknown.

    Args:
        model: the model as the provider names it.
        usage: what the call consumed.
        provider: id of the provider ("openai") or the base URL of its API; None guesses it from
            the model's name.
    """
    try:
        genai_prices = importlib.import_module("genai_prices")
    except ImportError:
        return None
    is_url = provider is not None and "://" in provider
    try:
        calculation = genai_prices.calc_price(
            genai_prices.Usage(
                input_tokens=usage.input_tokens,
                cache_read_tokens=usage.cached_tokens,
                output_tokens=usage.output_tokens,
            ),
            model,
            **{"provider_api_url" if is_url else "provider_id": provider},
        )
    except (LookupError, ValueError):
        return None
    total = calculation.total_price
    return total if isinstance(total, Decimal) else None


def worst_case(
    model: str,
    input_tokens: int,
    max_tokens: int,
    *,
    provider: str | None = None,
    given: Price | None = None,
) -> Decimal | None:
    """Return the most a call can cost, in USD, to reserve it; None when the price is unknown.

    Nothing is assumed to come from a cache.

    Args:
        model: the model as the provider names it.
        input_tokens: tokens of the prompt, see `prompt_tokens`.
        max_tokens: ceiling of the answer, in tokens.
        provider: as in `price`.
        given: a price of yours, which goes before the list.
    """
    usage = Usage(input_tokens, max_tokens)
    if given is not None:
        return given.cost(usage)
    return price(model, usage, provider)


def _to_decimal(option: str, value: Decimal | float | str) -> Decimal:
    try:
        # Through str, so that the float 0.15 becomes 0.15 and not its binary neighbour.
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise InvalidOption(option, value, "a finite number of USD, 0 or more")
    return amount
