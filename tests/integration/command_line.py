"""The `sciqueue` command run in this process, as a shell would see it: exit code, standard output and error."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

from schemas.command import main


@dataclass(frozen=True)
class Ended:
    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode()


def sciqueue(*arguments: object, stdin: bytes = b"") -> Ended:
    """Call the command with these arguments."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    given = io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
    code: object = 0
    with (
        patch.object(sys, "argv", ["sciqueue", *map(str, arguments)]),
        patch.object(sys, "stdin", given),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    assert isinstance(code, int)
    return Ended(code, out.buffer.getvalue(), err.buffer.getvalue().decode())


def submitted(*arguments: object, stdin: bytes = b"") -> int:
    """Submit, and return the job's number."""
    ended = sciqueue("submit", *arguments, "--json", stdin=stdin)
    assert ended.code == 0, ended.err
    return int(json.loads(ended.out)["job"])


def refused(ended: Ended, code: int, *said: str) -> None:
    """Hold the command to one line on standard error, no traceback, and nothing on standard output."""
    assert ended.code == code, ended.err
    assert ended.out == ""
    assert len(ended.err.splitlines()) == 1, ended.err
    assert ended.err.startswith("sciqueue: ")
    for part in said:
        assert part in ended.err
