"""`up`, `down`, `dispatch`, `flower` and `migrate`: what runs in the background, and the tables it needs.

Celery and Alembic are imported by the commands that use them, so that the others start quickly.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from producer.running import start, stop
from producer.stack import FLOWER_PORT, StackFile, StackInfo
from schemas.command import PROCESSES, examples
from schemas.endpoints import find_database, find_servers, open_database
from schemas.errors import UsageError
from schemas.lifeline import end_with
from schemas.logs import set_up
from schemas.settings import load_settings


def register(app: typer.Typer) -> None:
    """Join the `sciqueue` command."""
    app.command(
        rich_help_panel=PROCESSES,
        epilog=examples(
            "sciqueue up # everything on this machine, workers on the CPU",
            "sciqueue up --device 0,1 # workers on two GPUs",
            "SCIQUEUE_DATABASE_URL=… SCIQUEUE_BROKER_URL=… sciqueue up # with a lab's own servers",
        ),
    )(up)
    app.command(rich_help_panel=PROCESSES, epilog=examples("sciqueue down"))(down)
    app.command(
        rich_help_panel=PROCESSES,
        epilog=examples("sciqueue dispatch # start it on two machines: one leads, the other stands by"),
    )(dispatch)
    app.command(
        rich_help_panel=PROCESSES,
        epilog=examples(
            "SCIQUEUE_FLOWER_AUTH=ann:secret sciqueue flower --address 0.0.0.0",
            "sciqueue flower --prefix /flower # behind a proxy that passes /flower on",
        ),
    )(flower)
    app.command(
        name="migrate",
        rich_help_panel=PROCESSES,
        epilog=examples("sciqueue migrate # after an upgrade, with a lab's own PostgreSQL"),
    )(bring_up_to_date)


def up(device: Annotated[str, typer.Option(help="'auto', 'cpu', or GPUs by number or UUID.")] = "auto") -> None:
    """Start servers, dispatcher, workers and Flower, and leave them running. Safe to repeat."""
    console = Console()
    settings = load_settings()
    if StackFile(settings).running():
        console.print("already running; to change devices or settings: sciqueue down, then up again")
    with console.status("starting") as status:
        info = start(settings, device, lambda what: status.update(f"waiting for {what}"))
    console.print(f"[green]sciqueue is up[/green]; data and logs are in {settings.home}")
    console.print(flower_line(info))
    console.print("next: sciqueue submit FILE --task predict   ·   sciqueue watch   ·   sciqueue down")


def down() -> None:
    """Stop what `up` started, in order: batches in hand are finished or handed back, and all data stay."""
    console = Console()
    with console.status("stopping"):
        stopped = stop(load_settings())
    console.print("sciqueue is down" if stopped else "nothing was running")


def dispatch(
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Serve Prometheus metrics of all jobs on this port; 0: none.")
    ] = 0,
    parent: Annotated[int | None, typer.Option(hidden=True, help="End when this process does.")] = None,
) -> None:
    """Run a dispatcher: it hands batches to the workers. One leads, any others stand by."""
    from producer.broker import Broker
    from producer.dispatcher import Dispatcher
    from producer.metrics import DispatcherCollector
    from schemas.exporter import serve_metrics

    end_with(parent)
    settings = load_settings()
    set_up("dispatcher", settings.log_format)
    broker = Broker(find_servers(settings).broker_url)
    with open_database(settings) as database:
        dispatcher = Dispatcher(database, broker, settings.lease_seconds)

        def on_signal(_: int, __: FrameType | None) -> None:
            dispatcher.stop.set()

        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)
        end_metrics = serve_metrics(DispatcherCollector(database, dispatcher), settings.metrics_address, metrics_port)
        dispatcher.run()
        end_metrics()
    broker.close()


def flower(
    address: Annotated[str, typer.Option(help="To listen on; 0.0.0.0 is every network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="To listen on.")] = FLOWER_PORT,
    prefix: Annotated[str, typer.Option(metavar="PATH", help="The path that it is found below.")] = "",
) -> None:
    """Run Flower, which shows tasks and workers in a browser, until stopped. `up` starts one by itself.

    SCIQUEUE_FLOWER_AUTH holds its user:password. Without one it serves this machine alone, unless it is 'off'.
    """
    settings = load_settings()
    auth = settings.flower_auth.get_secret_value() if settings.flower_auth else None
    if auth is None and address not in {"127.0.0.1", "::1", "localhost"}:
        raise UsageError(f"--address {address}: set SCIQUEUE_FLOWER_AUTH=user:password first, or to 'off'")
    from producer.flower import Page, serve

    serve(Page(address, port, prefix, "" if auth in {None, "off"} else str(auth)), settings)


def bring_up_to_date() -> None:
    """Make or update the tables and views that this version needs."""
    from schemas.migrate import migrate, newest_revision

    migrate(find_database(load_settings()))
    typer.echo(f"the database is at revision {newest_revision()}")


def flower_line(info: StackInfo) -> str:
    """Where Flower is, and how to get in."""
    return f"Flower: {info.flower_url}" + (f"   user:password {info.flower_auth}" if info.flower_auth else "")
