"""A worker process for each GPU of a machine, whose management library is simulated; the engine needs no real one."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.acceptance.lab import lab

SIMULATED = Path(__file__).parents[1] / "simulated"


def test_each_gpu_has_a_process_of_its_own_pinned_by_uuid_near_its_processors() -> None:
    here = sorted(os.sched_getaffinity(0))
    gpus = [{"uuid": "GPU-first", "cpus": here[:1]}, {"uuid": "GPU-cut", "slices": ["MIG-a", "MIG-b"]}]
    simulated = {"PYTHONPATH": str(SIMULATED), "SIMULATED_GPUS": json.dumps(gpus)}
    with lab(device="auto", environment=simulated, slots="2") as site:
        workers = {one.cmdline()[one.cmdline().index("--name") + 1].partition("@")[0]: one for one in site.workers()}
        seen = {name: one.environ()["CUDA_VISIBLE_DEVICES"] for name, one in workers.items()}
        assert seen == {
            "gpu0": "GPU-first",
            "gpu1.0": "MIG-a",
            "gpu1.1": "MIG-b",
            "suspects-gpu0": "GPU-first",
        }
        assert workers["gpu0"].cpu_affinity() == here[:1]
        assert workers["gpu1.0"].cpu_affinity() == here
        source = site.home / "rows.smi"
        source.write_text("\n".join("C" * (row + 1) for row in range(300)) + "\n")
        site.command("submit", str(source), "--model", "fake-predict", "--batch-rows", "10")
        assert site.wait(1, 60.0).succeeded == 300
        used = site.query(
            "SELECT DISTINCT split_part(l.worker, '@', 1) AS worker FROM sciqueue.batches b "
            "JOIN sciqueue.leases l ON l.id = b.lease_id"
        )
        assert {row["worker"] for row in used} == {"gpu0", "gpu1.0", "gpu1.1"}
        asked = site.command("worker", "--device", "3", check=False)
        assert asked.returncode == 2
        assert "there is no GPU '3'; there are: 0 (Simulated GPU, GPU-first)" in asked.stderr
