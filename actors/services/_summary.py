"""What the spans of a trace add up to, by name, by agent and by model. Pure.

Only the span that made a call carries its tokens and its cost; they are not repeated on its
parents, so no total counts anything twice.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from actors._errors import InvalidOption
from actors.services import _genai as genai
from actors.services._money import nano_dollars, usd

__all__ = ["Row", "Summary", "Totals"]

_SAMPLES = 2048


class Row(msgspec.Struct, frozen=True):
    """All spans of one name, agent or model.

    Attributes:
        count: how many there were.
        errors: how many of them ended with an error.
        p50, p95: durations in seconds that half and 95 % of them did not exceed; of a random
            sample once there are thousands.
        input_tokens, output_tokens: what their model calls used.
        cost_usd: what their model calls cost; None if the price of any is unknown.
        known_cost_usd: the cost of those whose price is known.
        unpriced: how many model calls there were whose price is unknown.
    """

    count: int
    errors: int
    p50: float
    p95: float
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    known_cost_usd: Decimal
    unpriced: int

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


class Summary(msgspec.Struct, frozen=True):
    """The rows of a trace, each in the order in which their first span ended.

    Attributes:
        total: all spans together.
        by_name, by_agent, by_model: the spans that have one, by it.
    """

    total: Row
    by_name: dict[str, Row]
    by_agent: dict[str, Row]
    by_model: dict[str, Row]


class _Tally:
    """Running totals in bounded memory."""

    __slots__ = ("cost", "count", "errors", "input", "output", "sample", "unpriced")

    def __init__(self) -> None:
        self.count = self.errors = self.input = self.output = self.cost = self.unpriced = 0
        # Invariant: a uniform sample of all durations (Vitter's algorithm R).
        self.sample: list[float] = []

    def row(self) -> Row:
        ordered = sorted(self.sample)
        return Row(
            count=self.count,
            errors=self.errors,
            p50=_percentile(ordered, 50),
            p95=_percentile(ordered, 95),
            input_tokens=self.input,
            output_tokens=self.output,
            cost_usd=None if self.unpriced else usd(self.cost),
            known_cost_usd=usd(self.cost),
            unpriced=self.unpriced,
        )


class Totals:
    """Takes spans in and gives a `Summary` out.

    Args:
        seed: of the sampling, so that equal spans give equal summaries.
    """

    def __init__(self, seed: int = 0) -> None:
        self._all = _Tally()
        self._by_name: dict[str, _Tally] = {}
        self._by_agent: dict[str, _Tally] = {}
        self._by_model: dict[str, _Tally] = {}
        self._random = random.Random(seed)  # noqa: S311 - sampling is no secret

    def add(
        self, name: str, seconds: float, attributes: Mapping[str, Any], *, failed: bool
    ) -> None:
        """Count one span that ended."""
        tallies = [self._all, _tally(self._by_name, name)]
        agent = attributes.get(genai.AGENT_NAME)
        if agent is not None:
            tallies.append(_tally(self._by_agent, str(agent)))
        model = attributes.get(genai.RESPONSE_MODEL) or attributes.get(genai.REQUEST_MODEL)
        if model is not None:
            tallies.append(_tally(self._by_model, str(model)))
        used_in = _count(attributes.get(genai.INPUT_TOKENS))
        used_out = _count(attributes.get(genai.OUTPUT_TOKENS))
        cost = _cost(attributes.get(genai.COST_USD))
        # A call that failed without any usage was most likely not billed: that is no unknown.
        unpriced = cost is None and bool(used_in or used_out or (model is not None and not failed))
        for tally in tallies:
            tally.count += 1
            tally.errors += failed
            tally.input += used_in
            tally.output += used_out
            tally.cost += cost or 0
            tally.unpriced += unpriced
            if len(tally.sample) < _SAMPLES:
                tally.sample.append(seconds)
            elif (place := int(self._random.random() * tally.count)) < _SAMPLES:
                tally.sample[place] = seconds

    def summary(self) -> Summary:
        """Return what has been counted so far."""
        return Summary(
            total=self._all.row(),
            by_name={name: tally.row() for name, tally in self._by_name.items()},
            by_agent={name: tally.row() for name, tally in self._by_agent.items()},
            by_model={name: tally.row() for name, tally in self._by_model.items()},
        )


def _tally(tallies: dict[str, _Tally], key: str) -> _Tally:
    tally = tallies.get(key)
    if tally is None:
        tally = tallies[key] = _Tally()
    return tally


def _percentile(ordered: list[float], percent: int) -> float:
    """Return the nearest-rank percentile, 0.0 of nothing."""
    if not ordered:
        return 0.0
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _cost(value: Any) -> int | None:
    # What an attribute holds is anybody's: a cost that is no amount is an unknown one.
    try:
        return None if value is None else nano_dollars(value)
    except InvalidOption:
        return None
