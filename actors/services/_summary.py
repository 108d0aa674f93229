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

# What a sum of some thousand weights can be off by.
_ROUNDING = 1e-6


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
    """Running totals in bounded memory of the spans of one name, agent and model."""

    __slots__ = ("cost", "count", "errors", "input", "output", "sample", "unpriced")

    def __init__(self) -> None:
        self.count = self.errors = self.input = self.output = self.cost = self.unpriced = 0
        # Invariant: a uniform sample of all durations (Vitter's algorithm R).
        self.sample: list[float] = []


class Totals:
    """Takes spans in and gives a `Summary` out.

    Args:
        seed: of the sampling, so that equal spans give equal summaries.
    """

    def __init__(self, seed: int = 0) -> None:
        # One for each combination, added up when somebody asks: that is seldom, spans are many.
        self._tallies: dict[tuple[str, str | None, str | None], _Tally] = {}
        self._random = random.Random(seed).random  # noqa: S311 - sampling is no secret

    def add(
        self, name: str, seconds: float, attributes: Mapping[str, Any], *, failed: bool
    ) -> None:
        """Count one span that ended."""
        agent = attributes.get(genai.AGENT_NAME)
        model = attributes.get(genai.RESPONSE_MODEL) or attributes.get(genai.REQUEST_MODEL)
        key = (
            name,
            agent if agent is None else str(agent),
            model if model is None else str(model),
        )
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = _Tally()
        tally.count += 1
        tally.errors += failed
        used_in = _count(attributes.get(genai.INPUT_TOKENS))
        used_out = _count(attributes.get(genai.OUTPUT_TOKENS))
        tally.input += used_in
        tally.output += used_out
        cost = _cost(attributes.get(genai.COST_USD))
        if cost is not None:
            tally.cost += cost
        elif used_in or used_out or (model is not None and not failed):
            # A call that failed without any usage was most likely not billed: that is no unknown.
            tally.unpriced += 1
        if len(tally.sample) < _SAMPLES:
            tally.sample.append(seconds)
        elif (place := int(self._random() * tally.count)) < _SAMPLES:
            tally.sample[place] = seconds

    def summary(self) -> Summary:
        """Return what has been counted so far."""
        by: tuple[dict[str, list[_Tally]], ...] = ({}, {}, {})
        for key, tally in self._tallies.items():
            for one, rows in zip(key, by, strict=True):
                if one is not None:
                    rows.setdefault(one, []).append(tally)
        names, agents, models = by
        return Summary(
            total=_row(list(self._tallies.values())),
            by_name={name: _row(tallies) for name, tallies in names.items()},
            by_agent={agent: _row(tallies) for agent, tallies in agents.items()},
            by_model={model: _row(tallies) for model, tallies in models.items()},
        )


def _row(tallies: list[_Tally]) -> Row:
    """Return what these add up to."""
    unpriced = sum(tally.unpriced for tally in tallies)
    cost = sum(tally.cost for tally in tallies)
    # Each duration in a sample stands for as many as the sample leaves out.
    ordered = sorted(
        (seconds, tally.count / len(tally.sample)) for tally in tallies for seconds in tally.sample
    )
    return Row(
        count=sum(tally.count for tally in tallies),
        errors=sum(tally.errors for tally in tallies),
        p50=_percentile(ordered, 50),
        p95=_percentile(ordered, 95),
        input_tokens=sum(tally.input for tally in tallies),
        output_tokens=sum(tally.output for tally in tallies),
        cost_usd=None if unpriced else usd(cost),
        known_cost_usd=usd(cost),
        unpriced=unpriced,
    )


def _percentile(ordered: list[tuple[float, float]], percent: int) -> float:
    """Return the nearest-rank percentile of values with their weights, 0.0 of nothing."""
    rank = sum(weight for _, weight in ordered) * percent / 100
    for value, weight in ordered:
        rank -= weight
        if rank <= _ROUNDING:
            return value
    return 0.0


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _cost(value: Any) -> int | None:
    # What an attribute holds is anybody's: a cost that is no amount is an unknown one.
    try:
        return None if value is None else nano_dollars(value)
    except InvalidOption:
        return None
