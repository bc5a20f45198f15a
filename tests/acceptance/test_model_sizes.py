"""Two workers of which one alone can hold a model: real processes and checkpoints, as a lab would set them up."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from schemas.footprint import weights_bytes
from tests.acceptance.lab import SCIQUEUE, Lab, lab, until
from tests.classifier_checkpoint import LABELS, classifier_entry, drugs, make_classifier_checkpoint

pytestmark = pytest.mark.slow

MIB = 1 << 20
WIDE = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 4}


@pytest.fixture
def models(tmp_path: Path) -> dict[str, int]:
    """Two checkpoints, `small` and `large`, in the registry beside them: the bytes that each needs."""
    make_classifier_checkpoint(tmp_path / "small")
    make_classifier_checkpoint(tmp_path / "large", **WIDE)
    endpoints = ", ".join(f'{{ name = "{label}", kind = "probability" }}' for label in LABELS)
    limits = "batch_rows = 8, batch_size = 100000, token_budget = 8192, max_rows = 256, max_tokens = 512"
    (tmp_path / "models.toml").write_text(
        "\n".join(
            f'[{name}]\ntask = "predict"\nengine = "classifier"\nweights = {{ path = "{tmp_path / name}" }}\n'
            f"endpoints = [{endpoints}]\nlimits = {{ {limits} }}\n"
            for name in ("small", "large")
        )
    )
    (tmp_path / "some.smi").write_text("".join(f"{smiles} m{row}\n" for row, smiles in enumerate(drugs(80))))
    return {name: weights_bytes(classifier_entry(tmp_path / name)) for name in ("small", "large")}


@contextmanager
def started(site: Lab, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A `sciqueue` command that runs within the block."""
    process = subprocess.Popen(
        [*SCIQUEUE, *arguments], env=site.environment | environment, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60.0)


def further_worker(site: Lab, memory: int) -> AbstractContextManager[object]:
    """One more worker, with so many bytes for models."""
    return started(site, "worker", "--device", "cpu", SCIQUEUE_MODEL_MEMORY=str(memory))


def submitted(site: Lab, folder: Path, model: str, *options: str) -> int:
    told = site.command("submit", str(folder / "some.smi"), "--model", model, *options, "--json").stdout
    return int(json.loads(told)["job"])


def memory_of_workers(site: Lab, job: int) -> set[int]:
    """The bytes for models of those that had a batch of a job."""
    found = site.query(
        "SELECT DISTINCT l.memory FROM batches b JOIN leases l ON l.id = b.lease_id WHERE b.job_id = %s", job
    )
    return {row["memory"] for row in found}


def test_a_small_worker_never_gets_a_model_that_only_a_large_one_can_hold(
    tmp_path: Path, models: dict[str, int]
) -> None:
    little, much = models["large"] - MIB, models["large"] + MIB
    assert models["small"] < little
    with lab(models_file=str(tmp_path / "models.toml"), model_memory=str(little), slots="4") as site:
        large = submitted(site, tmp_path, "large")
        assert site.wait(submitted(site, tmp_path, "small"), 120.0).succeeded > 70  # while the other one waits
        shown = site.command("status", str(large)).stdout
        assert "needs a worker with" in shown and "for models; the largest has" in shown
        with started(site, "watch", str(large), "--every", "0.1") as watching:
            assert watching.stdout is not None
            assert "0 of 80, 0.0%; needs a worker with" in watching.stdout.readline()
            with further_worker(site, much):
                assert site.wait(large, 120.0).succeeded > 70
                assert f"job {large} is done" in watching.communicate(timeout=60.0)[0]
        assert memory_of_workers(site, large) == {much}
        site.command("down")
        assert "too large" not in (site.home / "logs" / "worker.log").read_text()


def test_what_a_worker_finds_out_that_a_model_needs_moves_its_job_to_a_larger_one(
    tmp_path: Path, models: dict[str, int]
) -> None:
    little, much = models["large"] - MIB, models["large"] + MIB
    with lab(models_file=str(tmp_path / "models.toml"), model_memory=str(little), slots="4") as site:
        large = submitted(site, tmp_path, "large")
        site.query("UPDATE models SET need = NULL RETURNING id")  # as if its weights were on the workers' disks alone
        until(lambda: site.query("SELECT 1 FROM models WHERE need = %s", models["large"]), 60.0)
        until(lambda: not site.query("SELECT 1 FROM batches WHERE state IN ('queued', 'running')"), 60.0)
        assert "needs a worker with" in site.command("status", str(large)).stdout
        with further_worker(site, much):
            assert site.wait(large, 120.0).succeeded > 70
        assert memory_of_workers(site, large) == {much}
        crashes = site.query("SELECT max(crashes) AS most FROM batches")
        assert crashes == [{"most": 0}]
        assert ": too large (" in (site.home / "logs" / "worker.log").read_text()
