"""What a series of costs by size says: the slope, purely computed."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

__all__ = ["Slope", "fit"]


class Slope(msgspec.Struct, frozen=True):
    """How the cost of one item grows with the size.

    Attributes:
        exponent: e of cost ~ size^e, by least squares over the logarithms: 0 is flat, 1 is what
            makes the whole quadratic.
        ratio: dearest by cheapest size.
    """

    exponent: float
    ratio: float


def fit(growth: Mapping[int, float]) -> Slope | None:
    """Fit the slope; None if there are fewer than two sizes.

    Args:
        growth: cost of one item by size, both above zero.
    """
    if len(growth) < 2:
        return None
    points = [(math.log(size), math.log(cost)) for size, cost in growth.items()]
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    exponent = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum(
        (x - mean_x) ** 2 for x, _ in points
    )
    return Slope(exponent, max(growth.values()) / min(growth.values()))
