"""One worker process on one device: `python -m workers.process`, started by the supervisor, which has pinned it.

On a CPU nothing here imports torch: that happens with the first model, so a process that starts again is at work soon.
A GPU is tried first, as the batches in hand are blamed for what happens to it later.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from schemas.endpoints import find_servers
from schemas.exporter import serve_metrics
from schemas.ledger.leases import WorkerInfo
from schemas.lifeline import end_with
from schemas.logs import set_up
from schemas.settings import load_settings
from workers.app import make_worker, serve
from workers.metrics import WorkerCollector
from workers.probe import UNUSABLE, probe
from workers.usage import read_usage

log = logging.getLogger(__name__)

_RECORDED = ("sciqueue", "torch", "transformers", "chemprop", "rdkit", "celery", "numpy")


def main() -> None:
    """Read the arguments and serve until stopped."""
    arguments = argparse.ArgumentParser(prog="workers.process")
    arguments.add_argument("--name", required=True, help="device@host")
    arguments.add_argument("--device", required=True, help="cpu or cuda, as the pinned process sees it")
    arguments.add_argument("--gpu", default="", help="the UUID of the GPU that the process is pinned to")
    arguments.add_argument("--queues", required=True, help="comma-separated")
    arguments.add_argument("--slots", type=int, required=True, help="batches at a time")
    arguments.add_argument("--memory", type=int, help="the device's bytes; unset: what comes needs no model")
    arguments.add_argument("--cpus", type=_cpus, help="the processors to keep to, comma-separated; unset: any")
    arguments.add_argument("--metrics-port", type=int, default=0, help="0: none")
    arguments.add_argument("--parent", type=int, required=True, help="the supervisor's process id")
    options = arguments.parse_args()
    end_with(options.parent)
    if options.cpus and (near := options.cpus & os.sched_getaffinity(0)):  # a container may leave us none of these
        os.sched_setaffinity(0, near)
    settings = load_settings()
    set_up(options.name, settings.log_format)
    if options.device != "cpu":
        _try_device(options.device)
    servers = find_servers(settings)
    queues = options.queues.split(",")
    memory = options.memory and min(options.memory, settings.model_memory or options.memory)
    info = WorkerInfo(options.name, options.device, os.getpid(), queues, options.slots, software_versions(), memory)
    worker = make_worker(info, servers.database_url, servers.broker_url, settings)
    usage = partial(read_usage, options.gpu)
    metrics = WorkerCollector(options.name, worker.shelf.counts, worker.runner.verdicts, usage)
    serve_metrics(metrics, settings.metrics_address, options.metrics_port)
    serve(worker, info)


def _try_device(device: str) -> None:
    try:
        probe(device)
    except Exception as fault:
        log.error("this device cannot be used: %s: %s", type(fault).__name__, str(fault).strip().partition("\n")[0])
        sys.exit(UNUSABLE)


def _cpus(text: str) -> set[int]:
    return {int(number) for number in text.split(",")}


def software_versions() -> dict[str, str]:
    """The versions that outcomes record as their provenance."""
    versions = {"python": platform.python_version()}
    for package in _RECORDED:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


if __name__ == "__main__":
    main()
