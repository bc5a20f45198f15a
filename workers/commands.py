"""The workers' subcommands: `sciqueue worker`, `sciqueue train` and `sciqueue compress`."""

from __future__ import annotations

from typing import Annotated

import typer

from schemas.command import PROCESSES, examples
from schemas.endpoints import find_servers, open_database
from schemas.errors import UsageError
from schemas.items import INFERENCE, Task
from schemas.lifeline import end_with
from schemas.logs import set_up
from schemas.settings import load_settings
from workers.compression.command import compress
from workers.devices import find_devices
from workers.supervisor import Supervisor
from workers.training import commands as training


def register(app: typer.Typer) -> None:
    """Join the `sciqueue` command."""
    app.command(
        rich_help_panel=PROCESSES,
        epilog=examples(
            "sciqueue worker # a process for each GPU, or one on the CPU where there is none",
            "sciqueue worker --device 0,1 # two processes, each pinned to one GPU",
            "sciqueue worker --tasks summarize # takes papers only",
        ),
    )(worker)
    training.register(app)
    app.command(
        rich_help_panel=training.TRAINING,
        epilog=examples(
            "sciqueue compress tox21-starter -o tox21-int8 --int8 --data library.csv",
            "sciqueue compress tox21-starter -o student --student-layers 2 # run it again to go on after a stop",
        ),
    )(compress)


def worker(
    device: Annotated[str, typer.Option(help="'auto', 'cpu', or GPUs by number or UUID: one process each.")] = "auto",
    tasks: Annotated[str, typer.Option(help="Kinds of work to take, comma-separated.")] = ",".join(INFERENCE),
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Serve Prometheus metrics of the first process on this port, of each further one a port higher, "
            "the one for suspects last; 0: none. Unset: SCIQUEUE_METRICS_PORT.",
        ),
    ] = None,
    parent: Annotated[int | None, typer.Option(hidden=True, help="End when this process does.")] = None,
) -> None:
    """Run workers: one supervised process a device, until stopped by Ctrl-C or SIGTERM.

    Batches in hand are finished within SCIQUEUE_DRAIN_SECONDS, or handed back to be done elsewhere. A second signal
    hands them back at once.
    """
    end_with(parent)
    settings = load_settings()
    if metrics_port is not None:
        settings = settings.model_copy(update={"metrics_port": metrics_port})
    set_up("supervisor", settings.log_format)
    devices = find_devices(device)
    wanted = _tasks(tasks)
    open_database(settings).close()  # one clear line now, rather than workers that cannot start
    Supervisor(devices, wanted, settings, find_servers(settings).database_url).run()


def _tasks(text: str) -> list[Task]:
    try:
        return [Task(name.strip()) for name in text.split(",")]
    except ValueError:
        raise UsageError(f"--tasks '{text}': give one or more of {', '.join(Task)}") from None
