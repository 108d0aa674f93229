"""The agent: an actor around one worker, which meters what the worker spends.

The handle `Agent` is what teams are built from. Its actor is started when it is first asked, takes
one prompt at a time (`concurrency` of them, if that is more than one), and answers with a `Reply`.
"""

from __future__ import annotations

import weakref
from decimal import Decimal
from typing import Any

import msgspec

from actors._context import RUN, RunContext, current
from actors._deadline import Deadline
from actors._default import check_system, current_actor, default_system
from actors._errors import InvalidOption, NameTaken
from actors._future import Future
from actors._options import filled
from actors._ref import ActorRef
from actors._supervision import ChildSpec
from actors._system import ActorSystem
from actors.agents._seat import MAX_TOKENS, AgentActor, Desk, Job, Plan
from actors.agents._types import Reply
from actors.agents._worker import inspect_worker
from actors.agents.models import resolve_model
from actors.agents.pricing import Price
from actors.services._money import nano_dollars
from actors.services._money import usd as in_usd

__all__ = ["Agent", "as_agent"]


class Agent:
    """An agent around one worker.

    Args:
        worker: a sync or async callable `(prompt) -> str | Reply | object with .text`, which is
            also given `budget` (a lease) and `deadline` if it takes parameters of these names;
            an object with such a `run`; a model; or a model's name, such as "local".
        name: for the tree, traces and records; None takes the worker's.
        instructions: what a model is told before the prompt.
        concurrency: how many prompts it works on at a time.
        timeout: seconds for one prompt, from when work on it begins; None is no limit.
        price: what its tokens cost, where the list of prices does not know or is wrong.
        max_tokens: ceiling of a model's answer, in tokens.
        max_usd: the most that one prompt can cost, in USD, where the worker is a callable that
            spends: it is reserved before the call. Without it and without `price`, what the
            dearest call so far has cost is; so the first ones may go past a cap before they are
            settled.
        schema: a JSON schema that a model's answer must follow; see `Reply.data`.
        system: the system to live in; None is that of the actor that asks first, else the default.

    Raises:
        InvalidOption: an option makes no sense.
        UnknownModel, MissingExtra: the worker is a name, and there is no such model.
    """

    def __init__(
        self,
        worker: Any,
        *,
        name: str | None = None,
        instructions: str | None = None,
        concurrency: int = 1,
        timeout: float | None = None,
        price: Price | None = None,
        max_tokens: int = MAX_TOKENS,
        schema: dict[str, Any] | None = None,
        max_usd: Decimal | float | str | None = None,
        system: ActorSystem | None = None,
    ) -> None:
        found = inspect_worker(resolve_model(worker) if isinstance(worker, str) else worker)
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
            raise InvalidOption("concurrency", concurrency, "a whole number above zero")
        if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1:
            raise InvalidOption("max_tokens", max_tokens, "a whole number above zero")
        if timeout is not None:
            Deadline(timeout)  # the same rules
        filled("name", name, optional=True)
        if instructions is not None and not isinstance(instructions, str):
            raise InvalidOption("instructions", instructions, "a str, or None")
        if price is not None and not isinstance(price, Price):
            raise InvalidOption("price", price, "a Price(...), or None for the list of prices")
        if schema is not None and not isinstance(schema, dict):
            raise InvalidOption("schema", schema, "a JSON schema as a dict, or None")
        check_system(system)
        self.name = name or found.name
        self._plan = Plan(
            worker=found,
            name=self.name,
            instructions=instructions,
            concurrency=concurrency,
            timeout=timeout,
            price=price,
            max_tokens=max_tokens,
            schema=schema,
            max_usd=None if max_usd is None else in_usd(nano_dollars(max_usd, "max_usd")),
            owns_model=isinstance(worker, str),
        )
        self._system = system
        self._ref: ActorRef[Any] | None = None

    def spec(self, **options: Any) -> ChildSpec:
        """Return the specification of this agent's actor, to be a child of another.

        Args:
            options: further fields of the `ChildSpec`, such as `crash_on`.
        """
        cls = AgentActor if self._plan.concurrency == 1 else Desk
        return ChildSpec(cls, (self._plan,), **options)

    def run(
        self, prompt: Any, *, budget: Any = None, deadline: float | Deadline | None = None
    ) -> Future[Reply]:
        """Have the prompt worked on.

        Args:
            prompt: text, or anything with a `text` (a reply, a result of a pattern).
            budget: USD, a `BudgetPool` or a `Lease` it may spend; None is that of the run.
            deadline: seconds, or a `Deadline`; the run's applies as well.

        Raises:
            InvalidOption: an option makes no sense.
            BudgetExceeded, DeadlineExceeded, ModelError: from the future, as anything that the
                worker raised.
        """
        ref = self._living()
        if deadline is None:
            return ref.request(Job(prompt, budget))
        context = current() or RunContext(run_id="")
        limit = deadline if isinstance(deadline, Deadline) else Deadline(deadline)
        token = RUN.set(context.child(deadline=limit))
        try:
            return ref.request(Job(prompt, budget))
        finally:
            RUN.reset(token)

    def _living(self) -> ActorRef[Any]:
        ref = self._ref
        if ref is not None and ref.is_alive():
            return ref
        actor = current_actor()
        system = self._system or (actor.system if actor is not None else default_system())
        # Temporary: what its worker raises is an answer, and whatever else ends it (SystemExit)
        # must not count against the root of the user's system. The next prompt starts it anew.
        ref = self._ref = _spawn_named(system, self.spec(restart="temporary"), self.name)
        weakref.finalize(self, _stop_quietly, ref).atexit = False
        return ref

    def close(self) -> Future[bool]:
        """Stop the agent's actor once it is through with what it was asked."""
        if self._ref is not None:
            return self._ref.stop(block=False)
        future: Future[bool] = Future()
        future.set(value=False)
        return future

    def mermaid(self) -> str:
        """Return the agent as a Mermaid flowchart."""
        return f'flowchart LR\n    a["{self.name}"]\n'

    def __repr__(self) -> str:
        return f"<Agent {self.name}>"


def _spawn_named(system: ActorSystem, spec: ChildSpec, name: str) -> ActorRef[Any]:
    """Spawn under the agent's name, with a number behind it if a living one has it."""
    name = name.replace("/", "-")
    unique = name
    while True:
        try:
            return system.spawn(msgspec.structs.replace(spec, name=unique))
        except NameTaken:
            unique = f"{name}-{_free_number(system, name)}"


def _free_number(system: ActorSystem, name: str) -> int:
    """Return the first number that no living namesake has, if they have all below it."""
    taken, free = 1, 2
    while system.find(f"/{name}-{free}") is not None:
        taken, free = free, 2 * free
    while free - taken > 1:
        middle = (taken + free) // 2
        if system.find(f"/{name}-{middle}") is None:
            free = middle
        else:
            taken = middle
    return free


def _stop_quietly(ref: ActorRef[Any]) -> None:
    if ref.is_alive():
        ref.stop(block=False)


def as_agent(worker: Any, *, name: str | None = None) -> Any:
    """Return what can stand in an agent slot.

    An agent, a pattern, or anything whose `run` takes `budget` and `deadline` is returned as it
    is; all else is wrapped in an `Agent`.

    Raises:
        InvalidOption: it is nothing that could work on a prompt.
    """
    if not isinstance(worker, str):
        found = inspect_worker(worker)
        if found.kind == "runner" and found.wants == {"budget", "deadline"}:
            return worker
    return Agent(worker, name=name)
