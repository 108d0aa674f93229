"""What the seed of a chaos run decides: the tree, its actors, and what each driver does."""

from __future__ import annotations

import hashlib
import itertools
import random
import zlib
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from actors import Backoff, Bounded, Supervision

TOP = 20
"""Actors that the system itself supervises; the others are below them."""


class Node(msgspec.Struct, frozen=True):
    """What one actor of the tree is."""

    index: int
    path: str
    kind: Literal["sync", "async", "pinned"]
    mailbox: Any
    supervision: Supervision
    restart: str
    shutdown: Any
    significant: bool
    crash_on: bool
    fragile: tuple[str, ...]
    """The hooks that fail now and then."""
    below: tuple[int, ...]


class Deed(msgspec.Struct, frozen=True):
    """One thing that a driver does."""

    what: str
    target: int
    message: str
    number: int
    """Of the message; what it makes its receiver do depends on both alone."""
    timeout: float | None


class Plan(msgspec.Struct, frozen=True):
    """Everything that the seed decides."""

    seed: int
    nodes: tuple[Node, ...]
    drivers: tuple[Literal["thread", "loop", "home"], ...]
    home: bool
    """Whether the actors' loop is also that of drivers (`async with`), or a thread of its own."""

    def deeds(self, driver: int) -> Iterator[Deed]:
        """Return what a driver does, without end; the same each time."""
        chance = random.Random(f"{self.seed}/{driver}")
        for n in itertools.count():
            yield Deed(
                chance.choices(*DEEDS)[0],
                chance.randrange(len(self.nodes)),
                chance.choices(*MESSAGES)[0],
                driver + n * len(self.drivers),
                chance.choice([None, None, 0.0005, 0.005, 0.05, 5.0]),
            )

    def fingerprint(self) -> str:
        """Return a digest of the plan, with the beginning of what each driver does."""
        digest = hashlib.sha256(repr((self.seed, self.nodes, self.drivers, self.home)).encode())
        for driver in range(len(self.drivers)):
            digest.update(repr(list(itertools.islice(self.deeds(driver), 1000))).encode())
        return digest.hexdigest()


def weighted(weights: dict[str, int]) -> tuple[list[str], list[int]]:
    return list(weights), list(weights.values())


DEEDS = weighted(
    {
        "tell": 30,
        "ask": 25,
        "request": 20,
        "burst": 3,
        "cancel": 8,
        "kill": 3,
        "stop": 2,
        "stop_now": 2,
        "watch": 8,
        "unheard": 2,
        "look": 1,
        "regrow": 6,
        "cancel_drivers": 1,
    }
)
MESSAGES = weighted(
    {
        "echo": 30,
        "crash": 4,
        "crash_later": 4,
        "exit": 1,
        "rest": 10,
        "later": 6,
        "owe": 1,
        "stash": 4,
        "unstash": 4,
        "child": 3,
        "ask": 8,
        "tell": 8,
        "timer": 4,
        "end": 2,
        "regrow": 6,
        "gather": 4,
        "limit": 4,
        "odd": 1,
        "cancel_self": 1,
        "deep": 1,
    }
)
HOOKS = ("init", "start", "stop", "failure")


def build(seed: int, actors: int) -> Plan:
    """Return the plan of a seed; a pure function."""
    chance = random.Random(seed)
    below: dict[int, list[int]] = {n: [] for n in range(actors)}
    paths: list[str] = []
    depths: list[int] = []
    top = min(TOP, actors)
    for n in range(actors):
        above = chance.randrange(n) if n >= top else None
        while above is not None and depths[above] > 3:
            above = chance.randrange(n)
        if above is None:
            paths.append(f"/n{n}")
            depths.append(0)
        else:
            below[above].append(n)
            paths.append(f"{paths[above]}/n{n}")
            depths.append(depths[above] + 1)
    nodes = []
    for n in range(actors):
        restart = chance.choice(["permanent", "permanent", "transient", "temporary"])
        overflow = chance.choice(["reject", "drop_new", "drop_old", "block"])
        nodes.append(
            Node(
                index=n,
                path=paths[n],
                kind=chance.choices(["sync", "async", "pinned"], [9, 9, 2])[0],
                mailbox=Bounded(chance.choice([1, 4, 64]), overflow)
                if chance.random() < 0.3
                else None,
                supervision=Supervision(
                    chance.choice(["one_for_one", "one_for_all", "rest_for_one"]),
                    intensity=chance.choice([0, 5, 1000]),
                    period=0.5,
                    backoff=chance.choice([None, None, Backoff(0.001, 0.02)]),
                    auto_shutdown=chance.choice(["never", "never", "any", "all"]),
                ),
                restart=restart,
                shutdown=chance.choice([5.0, 5.0, None, "brutal_kill"]),
                significant=restart != "permanent" and chance.random() < 0.1,
                crash_on=chance.random() < 0.2,
                fragile=tuple(hook for hook in HOOKS if chance.random() < 0.3),
                below=tuple(below[n]),
            )
        )
    home = bool(seed % 2)
    drivers = ("thread", "thread", "thread", "loop", "home" if home else "loop", "home")
    return Plan(seed, tuple(nodes), drivers[: 6 if home else 5], home)


def roll(seed: int, *of: object) -> float:
    """Return a number from 0 to 1 that depends on nothing but the arguments."""
    return zlib.crc32(repr((seed, of)).encode()) / 2**32
