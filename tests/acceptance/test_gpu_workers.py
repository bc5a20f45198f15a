"""A worker process for each GPU, on a simulated management library and torch. Only the fake engine computes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil

from tests.acceptance.lab import Lab, lab, until

SIMULATED = Path(__file__).parents[1] / "simulated"


def test_each_gpu_has_a_process_of_its_own_pinned_by_uuid_near_its_processors(
    tmp_path: Path,
) -> None:
    here = sorted(os.sched_getaffinity(0))
    gpus = [
        {"uuid": "GPU-first", "cpus": here[:1], "memory": 8 << 30},
        {"uuid": "GPU-cut", "slices": ["MIG-a", "MIG-b"]},
    ]
    simulated = {"SIMULATED_GPUS": json.dumps(gpus), "PYTHONPATH": _with_torch(tmp_path, "2.13.0+cu130")}
    with lab(device="auto", environment=simulated, slots="2") as site:
        workers = _by_name(site)
        seen = {name: one.environ()["CUDA_VISIBLE_DEVICES"] for name, one in workers.items()}
        assert seen == {
            "gpu0": "GPU-first",
            "gpu1.0": "MIG-a",
            "gpu1.1": "MIG-b",
            "suspects-gpu1.0": "MIG-a",  # whatever one of them holds may become suspect
        }
        told = until(lambda: len(leases := _told(site)) == 4 and leases, 30.0)
        assert told == {"gpu0": 8, "gpu1.0": 10, "gpu1.1": 10, "suspects-gpu1.0": 10}
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
        assert set(_by_name(site)) == {"cpu0", "suspects-cpu0"}
        assert "1 GPUs stay unused" in (site.home / "logs" / "worker.log").read_text()
        asked = site.command("worker", "--device", "0", check=False)
        assert asked.returncode == 2
        assert "torch is installed without CUDA" in asked.stderr


def test_a_gpu_that_computes_no_more_is_given_up_while_the_other_goes_on_and_mended_it_serves_again(
    tmp_path: Path,
) -> None:
    broken = tmp_path / "broken"
    simulated = {
        "SIMULATED_GPUS": json.dumps([{"uuid": "GPU-first"}, {"uuid": "GPU-second"}]),
        "SIMULATED_BROKEN": str(broken),
        "PYTHONPATH": _with_torch(tmp_path, "2.13.0+cu130"),
    }
    with lab(device="auto", environment=simulated, slots="2") as site:
        source = site.home / "molecules.smi"
        source.write_text("".join(f"{'C' * (row % 60 + 1)} m{row}\n" for row in range(6_000)))
        submitted = site.command(
            *("submit", str(source), "--task", "predict", "--model", "fake-predict", "--batch-rows", "50", "--json"),
            *("--param", "ns_per_token=20000"),
        )
        job = int(json.loads(submitted.stdout)["job"])
        until(lambda: site.query("SELECT 1 FROM sciqueue.batches WHERE state = 'done'"), 30.0)
        broken.write_text("GPU-first")
        first, second = _by_name(site)["gpu0"], _by_name(site)["gpu1"]
        first.kill()
        until(lambda: "given up" in site.command("scale").stdout, 30.0)
        assert site.wait(job, 60.0).succeeded == 6_000
        assert second.is_running()
        until(lambda: _working(site) == {"gpu1", "suspects-gpu1"}, 20.0)
        told = site.command("doctor", check=False)
        assert told.returncode != 0
        assert "given up: it ended 3 times in a row without a batch, lastly by exit status 69" in told.stdout
        broken.unlink()
        site.command("scale", "2")
        until(lambda: _working(site) == {"gpu0", "gpu1", "suspects-gpu1"}, 20.0)
        assert "given up" not in site.command("scale").stdout


def _by_name(site: Lab) -> dict[str, psutil.Process]:
    return {one.cmdline()[one.cmdline().index("--name") + 1].partition("@")[0]: one for one in site.workers()}


def _working(site: Lab) -> set[str]:
    live = site.query("SELECT worker FROM sciqueue.leases WHERE closed_at IS NULL AND expires_at > clock_timestamp()")
    return {row["worker"].partition("@")[0] for row in live}


def _told(site: Lab) -> dict[str, int]:
    """The GiB for models that each live worker says to have."""
    leases = site.query("SELECT worker, memory FROM leases WHERE closed_at IS NULL")
    return {lease["worker"].partition("@")[0]: lease["memory"] >> 30 for lease in leases}


def _with_torch(folder: Path, version: str) -> str:
    """PYTHONPATH of the simulated library, and of a torch that says to be of that version."""
    about = folder / f"torch-{version}.dist-info" / "METADATA"
    about.parent.mkdir()
    about.write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
    return os.pathsep.join((str(SIMULATED), str(folder)))
