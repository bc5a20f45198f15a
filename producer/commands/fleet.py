"""Commands that change which workers run, on any host: scale and drain."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from producer import display
from producer.commands.common import AsJson, opened, print_json
from schemas.command import PROCESSES, examples
from schemas.database import Database
from schemas.errors import NotFound, UsageError
from schemas.ledger import roster
from schemas.ledger.roster import Listed, WorkerState

_POLL = 0.5  # seconds

NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait until it is so.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the one app."""
    app.command(
        rich_help_panel=PROCESSES,
        epilog=examples(
            "sciqueue scale # lists the workers of all hosts; --json for programs",
            "sciqueue scale 4 # so many on the one host that there is",
            "sciqueue scale 2 --host rack1 --host rack2 # so many on each of these",
        ),
    )(scale)
    app.command(
        rich_help_panel=PROCESSES,
        epilog=examples(
            "sciqueue drain gpu0@rack1 # to have that GPU for something else",
            "sciqueue drain rack1 && ssh rack1 sudo reboot",
        ),
    )(drain)


def scale(
    count: Annotated[int | None, typer.Argument(min=0, help="Workers that shall run on the host.")] = None,
    host: Annotated[list[str] | None, typer.Option(help="May be repeated; needed where there are several.")] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Change how many workers run on a host, or list those there are.

    Those that are too many finish the batches that they hold first. On a CPU there may be any number, on GPUs one each.

    A host whose `sciqueue worker` is started anew begins with all its devices. --json lists the workers.
    """
    with opened() as database:
        if count is None:
            if host:
                raise UsageError("--host: say how many workers, such as 'sciqueue scale 2 --host …'")
            listed = roster.listed(database)
            if as_json:
                print_json([asdict(one) for one in listed])
            else:
                _print(listed)
            return
        hosts = host or [_only_host(database)]
        up = [name for one in hosts for name in roster.scale(database, one, count)]
        rest = [one.name for one in roster.listed(database) if one.host in hosts and one.name not in up]
        if not no_wait:
            _wait(database, up, rest)
    typer.echo(
        f"{', '.join(hosts)}: {count} {'worker' if count == 1 else 'workers'}{'' if len(hosts) == 1 else ' each'}"
    )


def drain(
    worker: Annotated[list[str], typer.Argument(metavar="WORKER|HOST…", help="As 'sciqueue scale' lists them.")],
    no_wait: NoWait = False,
) -> None:
    """Have workers finish the batches that they hold, take no new ones, and stop.

    Their supervisor stays: 'sciqueue scale' starts them again.
    """
    with opened() as database:
        names = roster.drain(database, worker)
        if not no_wait:
            _wait(database, [], names)
    typer.echo(f"{', '.join(names)}: {'to be drained' if no_wait else 'drained'}; 'sciqueue scale' starts them again")


def _only_host(database: Database) -> str:
    hosts = {one.host for one in roster.listed(database)}
    if not hosts:
        raise NotFound("no workers are supervised anywhere; 'sciqueue up' or 'sciqueue worker' starts some")
    if len(hosts) > 1:
        raise UsageError(f"there are several hosts: choose with --host among {', '.join(sorted(hosts))}")
    return hosts.pop()


def _wait(database: Database, up: Sequence[str], down: Sequence[str]) -> None:
    """Until workers are as wanted, have been given up, or are gone with their supervisor."""
    console = display.console()
    with console.status("") as status:
        while True:
            listed = {one.name: one for one in roster.listed(database)}
            starting = [
                one for name in up if (one := listed.get(name)) and one.state != WorkerState.UP and not one.reason
            ]
            stopping = [one for name in down if (one := listed.get(name)) and one.state != WorkerState.DOWN]
            if not starting and not stopping:
                break
            status.update(", ".join([*(f"{one.name} starts" for one in starting), *map(_draining, stopping)]))
            time.sleep(_POLL)
    for name in up:
        if name not in listed or listed[name].reason:
            raise NotFound(f"{name} does not run: {listed[name].reason if name in listed else 'its supervisor ended'}")


def _draining(one: Listed) -> str:
    return f"{one.name} drains ({one.running} batches)"


def _print(workers: Sequence[Listed]) -> None:
    console = display.console()
    if not workers:
        console.print("no workers are supervised anywhere; 'sciqueue up' or 'sciqueue worker' starts some")
        return
    rows = [(one.name, one.host, one.state, one.running, _note(one)) for one in workers]
    console.print(display.records(["worker", "host", "state", "batches", "note"], rows, right=["batches"]))


def _note(one: Listed) -> str:
    if one.reason:
        return f"given up: it {one.reason}"
    return "starts" if one.wanted and one.state == WorkerState.DOWN else ""
