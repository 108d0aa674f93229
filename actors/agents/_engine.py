"""One loaded llama.cpp model, its slots, and the threads that feed them.

xllamacpp generates within a blocking call that hands out pieces through a callback; a callback
that returns True ends the generation and frees the slot. There are as many threads as slots, so
what waits, waits in a queue of ours, where it can still be cancelled.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import http.client
import importlib
import os
import secrets
import threading
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

import msgspec

from actors._errors import MissingExtra, ModelUnavailable, UnknownModel
from actors.agents._generation import CLOSED, Call

__all__ = ["Engine", "EngineOptions", "acquire", "import_xllamacpp", "release"]

# Prompts are read in batches, and a batch cannot be interrupted. Measured on two cores, 128 reads
# as fast as 2048 (220 tokens/s) and reacts within 0.6 s instead of 7.
_BATCH = 128

_FORKED = (
    "this process was forked while a model was in memory, and llama.cpp's threads stayed in the "
    "parent; use the 'spawn' start method"
)


class EngineOptions(msgspec.Struct, frozen=True):
    """What makes two models share one engine: the same file, loaded the same way."""

    path: Path
    context: int
    slots: int
    threads: int


class _Load:
    """The job that does nothing but have the model loaded."""

    stopped = False

    def __init__(self, model: str) -> None:
        self.model = model
        self.future: Future[None] = Future()

    def run(self, _server: Any, _window: int) -> None:
        """Nothing is left to do."""


class Engine:
    """A model in memory. Loads on first use, in one of its own threads."""

    def __init__(self, options: EngineOptions) -> None:
        self.options = options
        # Invariant: how many models hold this engine; guarded by `_registry_lock`.
        self.users = 0
        self._jobs: SimpleQueue[Call | _Load | None] = SimpleQueue()
        # Invariant: `_lock` guards `_calls` and `_unusable` and is never held over a call into
        # llama.cpp; `_loading` is held while the model loads.
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._calls: set[Call] = set()
        self._unusable: str | None = None
        self._server: Any = None
        self._failure: UnknownModel | MissingExtra | None = None
        # The library opens a port in any case; without this key nobody else can use it.
        self._key = secrets.token_urlsafe(32)
        # Daemons: the interpreter would wait for others before `atexit` could tell them to stop.
        self._threads = [
            threading.Thread(target=self._work, name=f"local-model-{slot}", daemon=True)
            for slot in range(options.slots)
        ]
        for thread in self._threads:
            thread.start()

    def generate(self, call: Call) -> None:
        """Queue a call; its future is answered from another thread."""
        if self._enqueue(call):
            call.future.add_done_callback(lambda _: self._forget(call))

    def load(self, model: str) -> Future[None]:
        """Load the model now; the future is answered when it is in memory."""
        job = _Load(model)
        self._enqueue(job)
        return job.future

    def count_tokens(self, text: str) -> int | None:
        """Count exactly with the model's own tokenizer, or return None if it is not loaded."""
        server = self._server
        if server is None:
            return None
        address = urlsplit(server.listening_address)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        try:
            connection.request(
                "POST",
                "/tokenize",
                msgspec.json.encode({"content": text}),
                {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
            )
            answer = msgspec.json.decode(connection.getresponse().read(), type=_Tokens)
        except (OSError, http.client.HTTPException, msgspec.MsgspecError):
            return None  # closed meanwhile: the caller has an estimate to fall back on
        finally:
            connection.close()
        return len(answer.tokens)

    def close(self) -> None:
        """Stop what runs, end the threads, free the memory. Blocks for up to one prompt batch."""
        with self._lock:
            if self._unusable is not None:
                return
            self._unusable = CLOSED
            for call in self._calls:
                call.stopped = True
            for _ in self._threads:
                self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._server = None

    def abandon_after_fork(self) -> None:
        """Mark it as left behind: its threads stayed in the parent process."""
        self._lock = threading.Lock()
        self._unusable = _FORKED
        if self._server is not None:
            # Its destructor would wait forever for those threads, so it must never run.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._server))

    def _enqueue(self, job: Call | _Load) -> bool:
        with self._lock:
            if self._unusable is not None:
                job.future.set_exception(ModelUnavailable(job.model, self._unusable))
                return False
            if isinstance(job, Call):
                self._calls.add(job)
            # Within the lock, so that no job comes after the marks that end the threads.
            self._jobs.put(job)
            return True

    def _forget(self, call: Call) -> None:
        with self._lock:
            self._calls.discard(call)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._serve(job)
            del job  # else its texts stay in memory until the next one

    def _serve(self, job: Call | _Load) -> None:
        if not job.future.set_running_or_notify_cancel():
            return
        result: Any
        try:
            result = job.run(self._loaded(job.model), self.options.context)
        except BaseException as error:  # noqa: BLE001 - the future carries it to the caller
            job.future.set_exception(error)
        else:
            job.future.set_result(result)

    def _loaded(self, model: str) -> Any:
        with self._loading:
            if self._unusable is not None:
                raise ModelUnavailable(model, self._unusable)
            if self._failure is not None:
                raise self._failure
            if self._server is None:
                try:
                    self._server = self._start_server()
                except (UnknownModel, MissingExtra) as error:
                    self._failure = error
                    raise
            return self._server

    def _start_server(self) -> Any:
        xllamacpp = import_xllamacpp()
        options = self.options
        params = xllamacpp.CommonParams()
        params.model.path = str(options.path)
        params.n_ctx = options.context * options.slots
        params.n_parallel = options.slots
        params.n_batch = params.n_ubatch = _BATCH
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
        params.warmup = False
        params.fit_params = False
        params.cache_ram_mib = 0
        params.verbosity = -1  # silent: it writes to the process's stderr otherwise
        params.ui = False
        params.port = 0
        params.n_threads_http = 1
        params.api_keys = [self._key]
        try:
            return xllamacpp.Server(params)
        except RuntimeError as error:
            raise UnknownModel(
                str(options.path),
                "a GGUF model that llama.cpp can load; this one is damaged, too large for the "
                "memory, or of an unknown kind",
            ) from error


class _Tokens(msgspec.Struct):
    tokens: list[int]


def import_xllamacpp() -> Any:
    """Import the library, or say which extra brings it.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        # By name, since it has no type information.
        return importlib.import_module("xllamacpp")
    except ImportError as error:
        raise MissingExtra("local") from error


_engines: dict[EngineOptions, Engine] = {}
_registry_lock = threading.Lock()


def acquire(options: EngineOptions) -> Engine:
    """Return the engine of these options, shared by everyone in the process who asks."""
    with _registry_lock:
        engine = _engines.get(options)
        if engine is None:
            engine = _engines[options] = Engine(options)
        engine.users += 1
        return engine


async def release(engine: Engine) -> None:
    """Give an engine back; the last one to do so unloads it."""
    with _registry_lock:
        engine.users -= 1
        if engine.users > 0:
            return
        if _engines.get(engine.options) is engine:
            del _engines[engine.options]
    loop = asyncio.get_running_loop()
    closed = asyncio.Event()

    def close() -> None:
        engine.close()
        with contextlib.suppress(RuntimeError):  # the loop may be gone before the engine is
            loop.call_soon_threadsafe(closed.set)

    # No daemon: the interpreter has to wait for it, since `atexit` cannot find the engine now.
    closer = threading.Thread(target=close, name="local-model-close")
    closer.start()
    await closed.wait()
    closer.join()


@atexit.register
def _close_all() -> None:
    # Threads inside llama.cpp while the interpreter takes itself apart would crash it.
    with _registry_lock:
        engines = list(_engines.values())
        _engines.clear()
    for engine in engines:
        engine.close()


def _after_fork() -> None:
    global _registry_lock  # noqa: PLW0603 - a thread that is not here may have held it
    _registry_lock = threading.Lock()
    # They stay registered: a fresh one would hang in the OpenMP runtime, which does not
    # survive a fork either.
    for engine in _engines.values():
        engine.abandon_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
