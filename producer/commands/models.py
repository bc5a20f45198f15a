"""The commands about models: which there are, what is known of one, and how fast one is here."""

from __future__ import annotations

from typing import Any

import typer
from rich.text import Text

from producer import display
from producer.commands.bench import bench
from producer.commands.common import RESULTS, AsJson, ModelName, opened, print_json, registry
from producer.commands.evaluate import headline
from producer.evaluation import store
from producer.evaluation.metric import Evaluation
from producer.evaluation.shipped import of_shipped
from producer.model_files import missing, size
from schemas.command import examples
from schemas.errors import ConfigurationError, SciqueueError, ServerUnavailable
from schemas.registry import EngineKind, ModelEntry
from schemas.revision import revision_of

Measured = dict[tuple[str, str], Evaluation]

_PATIENCE = 2.0  # seconds that a database may take before models are shown without what was measured


def register(app: typer.Typer) -> None:
    """Add the group of commands to the one app."""
    group = typer.Typer(invoke_without_command=True)
    group.callback()(models)
    group.command(epilog=examples("sciqueue models show minilm-extractive"))(show)
    group.command(
        epilog=examples(
            "sciqueue models bench admet-ai # on approved drugs",
            "sciqueue models bench admet-ai --input library.csv # and how long all of it will take",
            "sciqueue models bench our-generator --device cuda:0 --rows 5000",
        )
    )(bench)
    app.add_typer(
        group,
        name="models",
        rich_help_panel=RESULTS,
        epilog=examples(
            "sciqueue models",
            "sciqueue models show admet-ai # its parameters, limits and endpoints",
            "sciqueue models bench admet-ai # how fast it is on this machine",
        ),
    )


def models(context: typer.Context, as_json: AsJson = False) -> None:
    """List the models: the built-in ones, those trained here, and those of SCIQUEUE_MODELS_FILE."""
    if context.invoked_subcommand is not None:
        return
    entries = sorted(registry(), key=lambda entry: (entry.task.value, entry.name))
    if as_json:
        measured = _measured()
        print_json([_as_data(entry, measured) for entry in entries])
        return
    # No revisions here: those of models in folders or on a hub take a while to find out.
    rows = [
        (entry.name, entry.task.value, "yes" if entry.default else "", entry.licence, entry.description)
        for entry in entries
    ]
    display.console().print(display.records(["model", "task", "default", "licence", "description"], rows))


def show(name: ModelName, as_json: AsJson = False) -> None:
    """Show all that is known of a model, and whether its weights are on this machine."""
    entry = registry().get(name)
    measured = _measured()
    if as_json:
        print_json(_as_data(entry, measured))
    else:
        _print_model(entry, measured)


def _revision(entry: ModelEntry) -> tuple[str | None, str | None]:
    """The revision that a job would pin now, or why the model cannot be used."""
    try:
        return revision_of(entry), None
    except SciqueueError as fault:
        return None, str(fault)


def _measured() -> Measured:
    """The newest evaluation of each model and revision, made here or before: models need no database at hand."""
    try:
        with opened(timeout=_PATIENCE) as database:
            return of_shipped() | store.of_models(database)
    except (ServerUnavailable, ConfigurationError):
        return of_shipped()


def _as_data(entry: ModelEntry, measured: Measured) -> dict[str, Any]:
    revision, fault = _revision(entry)
    evaluation = measured.get((entry.name, revision or ""))
    return entry.model_dump(mode="json") | {
        "revision": revision,
        "unavailable": fault,
        "weights_missing": missing(entry.weights),
        "size": size(entry.weights),
        "measured": evaluation and evaluation.model_dump(mode="json"),
    }


def _print_model(entry: ModelEntry, measured: Measured) -> None:
    console = display.console()
    revision, fault = _revision(entry)
    evaluation = measured.get((entry.name, revision or ""))
    limits = entry.limits
    source = {name: value for name, value in entry.weights if value and name != "sha256"}
    about: dict[str, Any] = {
        "model": Text.assemble((entry.name, "bold"), "  (default)" if entry.default else ""),
        "description": entry.description,
        "task": f"{entry.task.value}, engine {entry.engine.value}, {entry.precision}",
        "revision": revision or Text(fault or "", style="yellow"),
        "weights": ", ".join(f"{name} {value}" for name, value in source.items()),
        "": _whereabouts(entry),
        "licence": entry.licence,
        "trained on": ", ".join(entry.trained_on),
        "measured": f"{headline(evaluation)} ({_judged(evaluation)})" if evaluation else "",
        "parameters": ", ".join(f"{name}={value}" for name, value in entry.parameters.items()),
        "batch": f"up to {limits.batch_rows:,} rows, {limits.batch_size:,} characters",
        "micro-batch": f"up to {limits.max_rows:,} rows, {limits.token_budget:,} padded tokens",
        "longest row": f"{limits.max_tokens:,} tokens, {limits.row_seconds:g} s",
    }
    console.print(display.fields({name: value for name, value in about.items() if value}))
    if entry.endpoints:
        rows = [(one.name, one.kind, one.units, one.description) for one in entry.endpoints]
        console.print()
        console.print(display.records(["endpoint", "kind", "units", "description"], rows))


def _judged(found: Evaluation) -> str:
    return f"job {found.job}, {found.corpus}" if found.job else f"{found.corpus}, {found.created_at:%Y-%m-%d}"


def _whereabouts(entry: ModelEntry) -> Text | None:
    if entry.engine is EngineKind.FAKE:
        return None
    why = missing(entry.weights)
    return Text(why, style="yellow") if why else Text("on this machine")
