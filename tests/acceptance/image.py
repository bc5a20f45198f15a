"""Build the CPU image without a Docker engine and run a job through containers of it: `make image`.

Debian's `buildah` builds and runs (as root, on the host's network). Its base image must be there or pullable. Options
for the build, such as mounts for pip's configuration, come from BUILDAH_OPTIONS. Servers are sciqueue's embedded ones.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from producer.servers.embedded import EmbeddedServers
from schemas.database import Database
from schemas.ledger import progress
from tests.acceptance.lab import until

ROOT = Path(__file__).parents[2]
IMAGE = "localhost/sciqueue:cpu"
SAMPLES = 200
BUILDAH = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}
DISPATCHER, WORKER, FLOWER = 9390, 9391, 9397  # ports on loopback; the worker has two processes


def main() -> None:
    """Build, run the job, and print what came of it."""
    began = time.monotonic()
    options = shlex.split(os.environ.get("BUILDAH_OPTIONS", ""))
    _buildah("build", "--target", "cpu", "--tag", IMAGE, "--file", "docker/Dockerfile", *options, ".")
    print(f"built in {time.monotonic() - began:.0f} s, {_size() / 1e6:,.0f} MB", flush=True)
    home = Path(tempfile.mkdtemp(prefix="sqimage-"))
    servers = EmbeddedServers(home)
    try:
        with ExitStack() as stack:
            run = Containers(stack, servers.start_postgres(), servers.start_broker())
            print(run.once("migrate").strip())
            run.start("dispatch", "--metrics-port", str(DISPATCHER))
            run.start("worker", "--device", "cpu", "--metrics-port", str(WORKER))
            run.start("flower", "--port", str(FLOWER))
            print("user", run.shell("id -u").strip())
            _job(run)
            for name, url in {
                "dispatcher": f"http://127.0.0.1:{DISPATCHER}/metrics",
                "worker": f"http://127.0.0.1:{WORKER}/metrics",
                "flower": f"http://127.0.0.1:{FLOWER}/healthcheck",
            }.items():
                with urllib.request.urlopen(url, timeout=5) as answer:
                    print(f"{name} is healthy: {answer.status}, {len(answer.read()):,} bytes")
    finally:
        servers.stop()
        shutil.rmtree(home, ignore_errors=True)


class Containers:
    """Containers of the image that know the two servers; what runs in them ends with the stack."""

    def __init__(self, stack: ExitStack, database: str, broker: str) -> None:
        self.database = database
        self._stack = stack
        self._settings = {
            "SCIQUEUE_DATABASE_URL": database,
            "SCIQUEUE_BROKER_URL": broker,
            "SCIQUEUE_FLOWER_AUTH": "off",
        }

    def once(self, *arguments: str) -> str:
        """What a `sciqueue` command prints."""
        return _buildah(*self._call("sciqueue", *arguments))

    def shell(self, line: str) -> str:
        """What a shell's line prints."""
        return _buildah(*self._call("sh", "-c", line))

    def start(self, *arguments: str) -> None:
        """Leave a `sciqueue` command running."""
        process = subprocess.Popen(["buildah", *self._call("sciqueue", *arguments)], env=os.environ | BUILDAH)
        self._stack.callback(process.wait, 60)
        self._stack.callback(process.terminate)

    def _call(self, *command: str) -> list[str]:
        container = _buildah("from", "--pull-never", IMAGE).strip()
        self._stack.callback(_buildah, "rm", container)
        settings = [f"--env={name}={value}" for name, value in self._settings.items()]
        return ["run", *settings, container, "--", *command]


def _job(run: Containers) -> None:
    began = time.monotonic()
    job = json.loads(run.once("submit", "--task", "generate", "--count", str(SAMPLES), "--json"))["job"]
    with Database(run.database, size=1, timeout=30.0) as database:
        ended = until(lambda: (seen := progress.of_job(database, job)).ended and seen, 300.0)
    assert (ended.state, ended.succeeded, ended.failed) == ("done", SAMPLES, 0), ended
    print(f"job {job}: {SAMPLES} samples in {time.monotonic() - began:.0f} s")


def _size() -> int:
    told: list[dict[str, Any]] = json.loads(_buildah("images", "--json", IMAGE))
    size = told[0]["size"]
    if isinstance(size, int):
        return size
    number, unit = size.split()
    return int(float(number) * {"MB": 1e6, "GB": 1e9}[unit])


def _buildah(*arguments: str) -> str:
    return subprocess.run(
        ["buildah", *arguments], cwd=ROOT, env=os.environ | BUILDAH, check=True, text=True, stdout=subprocess.PIPE
    ).stdout


if __name__ == "__main__":
    main()
