"""The command that judges a finished job: evaluate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from producer import display
from producer.commands.common import RESULTS, AsJson, opened, print_json
from producer.evaluation import store
from producer.evaluation.judging import Options, evaluate
from producer.evaluation.metric import MODEL, Evaluation, Metric
from producer.evaluation.molecules import Progress as Told
from producer.evaluation.reference import cache_of
from schemas.command import examples
from schemas.errors import UsageError
from schemas.settings import load_settings

_MOLECULES, _PROPERTIES = "Generated molecules", "Predicted properties"
_ARROWS = {"higher": "↑", "lower": "↓", None: ""}


def register(app: typer.Typer) -> None:
    """Add the command to the one app."""
    app.command(
        "evaluate",
        rich_help_panel=RESULTS,
        epilog=examples(
            "sciqueue evaluate 3 --plot quality.png",
            "sciqueue evaluate 4 --label 'NR-AhR=ahr_active' # a column of the corpus holds the labels",
            "sciqueue evaluate 5 --reference train.smi --test held-out.smi # generated molecules",
            "sciqueue evaluate --list",
        ),
    )(evaluate_job)


def evaluate_job(
    job: Annotated[
        int | None, typer.Argument(metavar="JOB", min=1, help="A finished job's number.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--list", help="Show what was stored: of all jobs, or of JOB.")] = False,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="Of summaries the column of references; unset: the papers' abstracts. Of generated molecules the set "
            "that is not novel, a file or moses:train; unset: moses:train.",
        ),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SET",
            help="A set that the molecules should be like: a file, moses:test or moses:test_scaffolds; may be "
            "repeated. Unset: moses:test.",
            rich_help_panel=_MOLECULES,
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, metavar="N", help="Judge so many samples at most.", rich_help_panel=_MOLECULES)
    ] = Options.samples,
    fcd: Annotated[
        bool,
        typer.Option("--fcd/--no-fcd", help="With the Fréchet ChemNet distance.", rich_help_panel=_MOLECULES),
    ] = True,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ENDPOINT=COLUMN",
            help="The corpus's column with an endpoint's labels; may be repeated. Unset: columns named alike.",
            rich_help_panel=_PROPERTIES,
        ),
    ] = None,
    baseline_train: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Molecules with the same label columns for the baseline to learn from; those among them are not "
            "tested. Unset: the corpus is split by scaffold, and a tenth of it tested.",
            rich_help_panel=_PROPERTIES,
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the figures to a file.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge a finished job by its results, and store the figures.

    Generated molecules by the metrics of MOSES, predictions against labels beside a random forest on the same split,
    summaries by ROUGE and BLEU beside the first three sentences. Intervals are of 95 %.
    """
    if everything:
        _list(job, as_json)
        return
    if job is None:
        raise UsageError("name a job, or give --list")
    if plot and not plot.parent.is_dir():  # said before the work, rather than after it
        raise UsageError(f"cannot write {plot}: there is no folder {plot.parent}")
    options = Options(
        reference=reference,
        tests=tuple(test) if test else Options.tests,
        samples=samples,
        fcd=fcd,
        labels=_labels(label or []),
        baseline_train=baseline_train,
    )
    with opened() as database, _progress() as told:
        found = evaluate(database, job, options, cache_of(load_settings()), told)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        show(found)
    if plot:
        from producer.evaluation.plot import save

        save(found, plot)


def show(found: Evaluation) -> None:
    """Print an evaluation: a line a figure, a column a system."""
    console = display.console()
    about = {
        "evaluation": f"{found.id} of job {found.job} ({display.plain(found.corpus)})",
        "model": f"{found.model}, revision {found.revision}",
        "rows": ", ".join(f"{count:,} {what}" for what, count in found.counts.items()),
        **{name: display.plain(_told(value)) for name, value in found.parameters.items() if name != "sha256"},
    }
    console.print(display.fields(about))
    for notice in found.notices:
        console.print(f"notice: {display.plain(notice)}", style="yellow", markup=False)
    console.print()
    systems = list(dict.fromkeys(one.system for one in found.metrics))
    lines: dict[tuple[str | None, str], dict[str, Metric]] = {}
    for one in found.metrics:
        lines.setdefault((one.endpoint, one.name), {})[one.system] = one
    rows = [
        (
            endpoint,
            f"{name} {_ARROWS[next(iter(by.values())).better]}",
            *(_cell(by.get(one)) for one in systems),
            _n(by),
        )
        for (endpoint, name), by in lines.items()
    ]
    header = ["endpoint", "metric", *systems, "over"]
    if not any(endpoint for endpoint, _ in lines):
        header, rows = header[1:], [row[1:] for row in rows]
    console.print(display.records(header, rows))


def _told(value: object) -> str:
    """A parameter as a person would write it."""
    if isinstance(value, dict):
        return ", ".join(name if name == of else f"{name}={of}" for name, of in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _cell(metric: Metric | None) -> str:
    if metric is None:
        return ""
    if metric.value is None:
        return metric.note
    bounds = "" if metric.low is None or metric.high is None else f" ({metric.low:.3f} to {metric.high:.3f})"
    return f"{metric.value:.3f}{bounds}"


def _n(by_system: dict[str, Metric]) -> str:
    one = by_system.get(MODEL) or next(iter(by_system.values()))
    return f"{one.n:,} {one.of}"


def _list(job: int | None, as_json: bool) -> None:
    with opened() as database:
        found = store.newest(database) if job is None else store.of_job(database, job)
    if as_json:
        print_json([one.model_dump(mode="json") for one in found])
        return
    if not found:
        typer.echo("no evaluations yet; 'sciqueue evaluate JOB' makes one")
        return
    if job is not None:
        show(found[0])
        return
    rows = [
        (one.id, one.job, one.corpus, one.model, headline(one), f"{display.age(one.created_at)} ago") for one in found
    ]
    console = display.console()
    console.print(display.records(["evaluation", "job", "corpus", "model", "measured", "when"], rows))


def headline(found: Evaluation) -> str:
    """The few figures that say most, in a line."""
    means = [one for one in found.metrics if one.system == MODEL and one.value is not None]
    over_all = [one for one in means if one.endpoint == "mean"] or means
    return ", ".join(f"{one.name} {one.value:.3f}" for one in over_all[:4])


def _labels(given: list[str]) -> dict[str, str]:
    labels = {}
    for pair in given:
        endpoint, equals, column = pair.partition("=")
        if not endpoint or not equals or not column:
            raise UsageError(f"--label {pair}: give it as ENDPOINT=COLUMN")
        labels[endpoint] = column
    return labels


@contextmanager
def _progress() -> Iterator[Told]:
    """A bar on standard error where somebody can see it."""
    console = display.console(stderr=True)
    if not console.is_terminal:
        yield lambda *_: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        tasks: dict[str, int] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)  # type: ignore[arg-type]

        yield told
