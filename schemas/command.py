"""The one `sciqueue` command: it gathers the packages' subcommands and turns faults into one line and an exit code."""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points

import typer

from schemas.errors import SciqueueError

GROUP = "sciqueue.commands"


def build() -> typer.Typer:
    """The command with all subcommands that installed packages register."""
    app = typer.Typer(
        name="sciqueue",
        help="Bulk papers and molecules in, every row's outcome in PostgreSQL.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        entry.load()(app)
    return app


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
