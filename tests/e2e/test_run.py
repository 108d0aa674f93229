"""The command as a user runs it: a process of its own, a real model, real files, a real Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actors import DecisionLog

pytestmark = pytest.mark.slow

ARTICLE = Path(__file__).parents[1] / "data" / "article.md"
ITS_WORDS = re.compile(
    r"\b(light|lens|fresnel|lamp|ship|mirror|horizon|sailor|captain|flame|fire|tower|coast|night)"
)
FILES = ["decisions.jsonl", "result.md", "run.json", "trace.jsonl"]
PATIENCE = 110
"""Seconds for a run of some 1500 tokens, on two cores that others use as well."""


@pytest.fixture
def excerpt(tmp_path):
    """The first 1500 characters of the article, so that the model is done in seconds."""
    path = tmp_path / "article.md"
    path.write_text(ARTICLE.read_text()[:1500])
    return path


def command(*args, cwd):
    code = "from patterns.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )


def check_run(folder, out):
    assert sorted(path.name for path in folder.iterdir()) == FILES
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "done"
    assert record["route"]["taken"] == "summarize"
    assert record["result"] in out
    # Words of the article that no prompt has; a small model need not choose the same ones twice.
    assert len(set(ITS_WORDS.findall(record["result"].lower()))) >= 2, record["result"]
    assert record["tokens"] == record["input_tokens"] + record["output_tokens"] > 0
    assert DecisionLog.verify(folder / "decisions.jsonl").records >= 3
    spans = [json.loads(line) for line in (folder / "trace.jsonl").read_text().splitlines()]
    names = {span["name"] for span in spans}
    assert {"invoke_workflow newsroom", "invoke_agent reader", "invoke_agent writer"} <= names
    assert {span["trace_id"] for span in spans} == {record["run_id"]}
    return record


def test_a_summary_by_the_local_model(tmp_path, excerpt):
    request = "Summarize this article"
    process = command("run", request, "-i", excerpt, "--out", "out", cwd=tmp_path)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, ""), err
    record = check_run(tmp_path / "out", out)
    assert record["cost_usd"] == 0


def test_the_same_through_a_real_server_gives_the_same_files(tmp_path, excerpt, local_model_server):
    spec = f"openai:smollm2@{local_model_server}"
    args = ["--model", spec, "--out", "out", "--price", "0.1/0.2"]
    process = command("run", "Summarize this article", "-i", excerpt, *args, cwd=tmp_path)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, ""), err
    record = check_run(tmp_path / "out", out)
    assert record["cost_usd"] > 0


def await_model_call(folder, process):
    """Wait until the model has answered the editor, so that it is reading the article."""
    trace = folder / "trace.jsonl"
    until = time.monotonic() + PATIENCE
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stderr, selectors.EVENT_READ)
        while time.monotonic() < until and process.poll() is None:
            if trace.exists() and trace.read_text().count('"chat ') >= 2:
                return
            # The pause ends early if the process says something, which would be a failure.
            waiting.select(0.05)
    pytest.fail(f"the model was never asked: {process.communicate(timeout=5)}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_within_two_seconds_and_keeps_what_was_paid_for(tmp_path, number):
    process = command("run", "Summarize this article", "-i", ARTICLE, "--out", "out", cwd=tmp_path)
    folder = tmp_path / "out"
    await_model_call(folder, process)
    began = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    took = time.monotonic() - began
    assert process.returncode == 130
    assert took < 2
    assert "Traceback" not in err
    with pytest.raises(ProcessLookupError):
        # The process was the leader of a group of its own: nobody of it is left.
        os.killpg(process.pid, 0)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "interrupted"
    assert record["reason"] == f"stopped by {signal.Signals(number).name}"
    assert record["route"]["taken"] == "summarize"
    assert record["tokens"] > 0
    assert (folder / "result.md").read_text().startswith("> Unfinished")
    assert DecisionLog.verify(folder / "decisions.jsonl").records >= 3
