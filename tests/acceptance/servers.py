"""Run all three tasks on a PostgreSQL and a Redis of a lab's own, passwords included: `make servers`.

They are the servers of this system, where it has them, reached through the two URLs alone: sciqueue makes its tables,
a dispatcher and a worker run. The papers and molecules are those of SCIQUEUE_TEST_DATA.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from tests.acceptance.lab import Lab, running
from tests.acceptance.own_servers import OwnServers, own_servers

SAMPLES = 500


def main() -> None:
    """Run the jobs, and exit with 1 unless every row has its outcome and a wrong password none."""
    if not (data := os.environ.get("SCIQUEUE_TEST_DATA")):
        print("SCIQUEUE_TEST_DATA is to name the folder of real articles and molecules", file=sys.stderr)
        sys.exit(2)
    home = Path(tempfile.mkdtemp(prefix="sqservers-"))
    try:
        with own_servers(home, "127.0.0.1") as servers:
            print(servers.versions(), flush=True)
            site = Lab(home / "home", **asdict(servers))
            print(site.command("migrate").stdout.strip())
            with running(site, "dispatch"), running(site, "worker", "--device", "cpu"):
                ok = _all_tasks(site, Path(data))
            ok = all([ok, *_strangers(home, servers)])
    finally:
        shutil.rmtree(home, ignore_errors=True)
    sys.exit(not ok)


def _all_tasks(site: Lab, data: Path) -> bool:
    """Submit one job a task, wait for all, and say how each ended."""
    began = time.monotonic()
    wanted = {
        "predict, admet-ai": (str(data / "molecules" / "delaney-processed.csv"), "--task", "predict"),
        "summarize, minilm-extractive": (str(data / "jats"), "--task", "summarize"),
        "generate, smiles-gpt": ("--task", "generate", "--count", str(SAMPLES)),
    }
    jobs = {name: json.loads(site.command("submit", *one, "--json").stdout)["job"] for name, one in wanted.items()}
    ok = True
    for name, job in jobs.items():
        ended = site.wait(job, 600.0, poll=0.5)
        exported = len(site.command("export", str(job), "--format", "jsonl").stdout.splitlines())
        right = ended.state == "done" and ended.done == ended.total == exported and ended.succeeded > 0
        ok = ok and right
        print(
            f"{name}: {ended.succeeded:,} succeeded, {ended.failed} failed with a reason, of {ended.total:,}; "
            f"{exported:,} exported; {time.monotonic() - began:.0f} s   {'ok' if right else 'WRONG'}",
            flush=True,
        )
    return ok


def _strangers(home: Path, servers: OwnServers) -> list[bool]:
    """Each server must refuse a wrong password, and `doctor` must say so without telling the right one or the wrong."""
    right = []
    for name, url in (("PostgreSQL", "database_url"), ("broker", "broker_url")):
        urls = asdict(servers)
        password = str(urlsplit(urls[url]).password)
        urls[url] = urls[url].replace(password, "not-the-password")
        told = Lab(home / "stranger", **urls).command("doctor", check=False).stdout
        refused = next((line for line in told.splitlines() if line.startswith(f"wrong {name}")), "")
        right.append("password" in refused and "not-the-password" not in told and password not in told)
        print(f"with a wrong password: {refused}   {'ok' if right[-1] else 'WRONG'}")
    return right


if __name__ == "__main__":
    main()
