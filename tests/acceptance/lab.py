"""A whole sciqueue of its own, with real processes, for tests that kill them: servers, dispatcher, workers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from producer.servers.embedded import EmbeddedServers
from producer.stack import StackFile
from schemas.database import Database
from schemas.endpoints import find_servers
from schemas.ledger import progress
from schemas.ledger.progress import JobProgress
from schemas.settings import Settings

SCIQUEUE = (sys.executable, "-m", "schemas.command")


class Lab:
    """One home folder and what runs for it."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.environment = {**os.environ, "SCIQUEUE_HOME": str(home), "SCIQUEUE_FLOWER_AUTH": "off"}
        self.environment |= {f"SCIQUEUE_{name.upper()}": value for name, value in settings.items()}
        self.settings = Settings(home=home, **settings)
        self.servers = EmbeddedServers(home)

    def command(self, *arguments: str, check: bool = True, timeout: float = 600.0) -> subprocess.CompletedProcess[str]:
        """Run a `sciqueue` command to its end."""
        return subprocess.run(
            [*SCIQUEUE, *arguments],
            env=self.environment,
            check=check,
            timeout=timeout,
            text=True,
            capture_output=True,
        )

    def database(self) -> Database:
        return Database(find_servers(self.settings).database_url, size=2, timeout=60.0)

    def stack(self) -> psutil.Process:
        info = StackFile(self.settings).running()
        assert info is not None, "the stack does not run"
        return psutil.Process(info.pid)

    def processes(self, words: str) -> list[psutil.Process]:
        """The stack's descendants whose command line holds these words, oldest first."""
        found = []
        for process in self.stack().children(recursive=True):
            try:
                if words in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return sorted(found, key=lambda process: process.create_time())

    def workers(self) -> list[psutil.Process]:
        return self.processes("workers.process")

    def supervisor(self) -> psutil.Process:
        """The stack's own, of all workers that it started."""
        (found,) = [one for one in self.processes("schemas.command worker") if one.ppid() == self.stack().pid]
        return found

    def progress(self, job: int) -> JobProgress:
        """How a job stands."""
        with self.database() as database:
            return progress.of_job(database, job)

    def wait(self, job: int, seconds: float, poll: float = 0.05) -> JobProgress:
        """Wait until a job has ended."""
        with self.database() as database:
            return until(lambda: (p := progress.of_job(database, job)).ended and p, seconds, poll)

    def query(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        with self.database() as database, database.transaction() as connection:
            return connection.execute(query.encode(), parameters).fetchall()


@contextmanager
def lab(*, device: str = "cpu", environment: Mapping[str, str] | None = None, **settings: str) -> Iterator[Lab]:
    """A lab that is up, with these variables more in its environment; stopped and removed afterwards."""
    home = Path(tempfile.mkdtemp(prefix="sqlab-"))
    made = Lab(home, **settings)
    made.environment |= environment or {}
    try:
        made.command("up", "--device", device)
        yield made
    except BaseException:
        for log in sorted((home / "logs").glob("*.log")):
            print(f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-40:]), file=sys.stderr)
        raise
    finally:
        made.command("down", check=False)
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def running(site: Lab, *arguments: str, before: Sequence[str] = ()) -> Iterator[Path]:
    """Have `sciqueue dispatch` or `worker` run for a lab that was not brought up; gives its log.

    `before` are another program's words, which end with the command that it is to run.
    """
    log = site.home / "logs" / f"{arguments[0]}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        process = subprocess.Popen(
            [*before, *SCIQUEUE, *arguments, "--parent", str(os.getpid())],
            env=site.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the caller, which then ends things in order
        )
    try:
        yield log
    finally:
        process.terminate()
        process.wait(60.0)


def until(ready: Callable[[], Any], seconds: float, poll: float = 0.05) -> Any:
    """Wait for a true answer and return it."""
    deadline = time.monotonic() + seconds
    while not (answer := ready()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(poll)
    return answer
