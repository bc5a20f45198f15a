"""The one `sciqueue` command: it gathers the packages' subcommands and turns faults into one line and an exit code."""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points, version
from typing import Annotated

import typer
from rich.markup import escape

from schemas.doctor import doctor
from schemas.errors import SciqueueError

GROUP = "sciqueue.commands"
PROCESSES = "Processes"  # the panel of `--help` for what runs: up, down, worker, dispatch


def build() -> typer.Typer:
    """The command with all subcommands that installed packages register."""
    app = typer.Typer(
        name="sciqueue",
        help="Bulk papers and molecules in, every row's outcome in PostgreSQL.",
        no_args_is_help=True,
        invoke_without_command=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        entry.load()(app)
    app.command(rich_help_panel=PROCESSES, epilog=examples("sciqueue doctor", "sciqueue doctor --json"))(doctor)
    return app


def _root(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Bulk papers and molecules in, every row's outcome in PostgreSQL."""
    if show_version:
        typer.echo(f"sciqueue {version('sciqueue')}")
        raise typer.Exit


def examples(*lines: str) -> str:
    """A command's epilog: each line is a call, with what it does after a `#`."""
    shown = ("  " + escape(line).replace(" # ", "  [dim]# ", 1) + ("[/dim]" if " # " in line else "") for line in lines)
    return "\n".join(["[bold]Examples[/bold]", *shown])


def main() -> None:
    """Run the command. Faults that sciqueue knows end as one line on standard error, never as a traceback."""
    try:
        build()()
    except SciqueueError as fault:
        print(f"sciqueue: {fault}", file=sys.stderr)
        sys.exit(fault.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as fault:  # a full disk, a folder that may not be written to
        print(f"sciqueue: {fault}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
