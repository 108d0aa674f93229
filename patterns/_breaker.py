"""The state of a circuit breaker. Pure: every decision is a function of state and `now`."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Circuit", "admit", "after_failure", "after_success", "after_unknown"]


class Circuit(msgspec.Struct, frozen=True):
    """How a circuit stands.

    Attributes:
        state: "closed" (all may pass), "open" (none) or "half_open" (one is being tried).
        failures: failures in a row.
        since: when it opened, on the monotonic clock in seconds.
    """

    state: Literal["closed", "open", "half_open"] = "closed"
    failures: int = 0
    since: float = 0.0


def admit(circuit: Circuit, now: float, reset_after: float) -> tuple[Circuit, float | None]:
    """Return the circuit after a call asked to pass, and None, or the seconds it should wait."""
    if circuit.state == "closed":
        return circuit, None
    wait = circuit.since + reset_after - now
    if circuit.state == "open" and wait <= 0:
        return Circuit("half_open", circuit.failures, now), None
    # One that is being tried and never comes back must not keep it shut for ever.
    if circuit.state == "half_open" and wait <= 0:
        return Circuit("half_open", circuit.failures, now), None
    return circuit, max(0.0, wait)


def after_success() -> Circuit:
    """Return the circuit after a call succeeded."""
    return Circuit()


def after_failure(circuit: Circuit, now: float, threshold: int) -> Circuit:
    """Return the circuit after a call failed in a way that counts."""
    failures = circuit.failures + 1
    if circuit.state != "closed" or failures >= threshold:
        return Circuit("open", failures, now)
    return Circuit("closed", failures, circuit.since)


def after_unknown(circuit: Circuit) -> Circuit:
    """Return the circuit after a call ended in a way that says nothing about the other side."""
    if circuit.state != "half_open":
        return circuit
    # Open with its time over: the next call is the trial.
    return Circuit("open", circuit.failures, float("-inf"))
