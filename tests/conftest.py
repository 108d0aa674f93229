"""Real parts that are costly to start, shared by the whole session."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from actors.agents._local import LocalModel, default_model_file

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def local_model() -> Iterator[LocalModel]:
    """The default local model, kept in memory for all tests; the first one to use it loads it."""
    model = LocalModel()
    asyncio.run(model.load())
    yield model
    asyncio.run(model.aclose())


@pytest.fixture(scope="session")
def local_model_server() -> Iterator[str]:
    """Base URL of an OpenAI-compatible server with the default local model, on a free port.

    One slot of 1024 tokens.
    """
    xllamacpp = pytest.importorskip("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = str(default_model_file())
    params.n_ctx = 1024
    params.n_parallel = 1
    params.n_batch = params.n_ubatch = 128
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup = False
    params.cache_ram_mib = 0
    params.verbosity = -1
    params.ui = False
    params.port = 0
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server
