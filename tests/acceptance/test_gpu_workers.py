"""A worker process for each GPU, on a simulated management library. Nothing computes: there is no CUDA."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.acceptance.lab import lab

SIMULATED = Path(__file__).parents[1] / "simulated"


def test_each_gpu_has_a_process_of_its_own_pinned_by_uuid_near_its_processors(tmp_path: Path) -> None:
    here = sorted(os.sched_getaffinity(0))
    gpus = [{"uuid": "GPU-first", "cpus": here[:1]}, {"uuid": "GPU-cut", "slices": ["MIG-a", "MIG-b"]}]
    simulated = {"SIMULATED_GPUS": json.dumps(gpus), "PYTHONPATH": _with_torch(tmp_path, "2.13.0+cu130")}
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
        asked = site.command("worker", "--device", "3", check=False)
        assert asked.returncode == 2
        assert "there is no GPU '3'; there are: 0 (Simulated GPU, GPU-first)" in asked.stderr


def test_gpus_stay_unused_where_torch_knows_no_cuda(tmp_path: Path) -> None:
    simulated = {
        "SIMULATED_GPUS": json.dumps([{"uuid": "GPU-first"}]),
        "PYTHONPATH": _with_torch(tmp_path, "2.13.0+cpu"),
    }
    with lab(device="auto", environment=simulated) as site:
        names = {one.cmdline()[one.cmdline().index("--name") + 1].partition("@")[0] for one in site.workers()}
        assert names == {"cpu0", "suspects-cpu0"}
        assert "1 GPUs stay unused" in (site.home / "logs" / "worker.log").read_text()
        asked = site.command("worker", "--device", "0", check=False)
        assert asked.returncode == 2
        assert "torch is installed without CUDA" in asked.stderr


def _with_torch(folder: Path, version: str) -> str:
    """PYTHONPATH of the simulated library, and of a torch that says to be of that version."""
    about = folder / f"torch-{version}.dist-info" / "METADATA"
    about.parent.mkdir()
    about.write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
    return os.pathsep.join((str(SIMULATED), str(folder)))
