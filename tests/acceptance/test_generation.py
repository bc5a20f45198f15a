"""Generation with a checkpoint of the lab's own, named in a registry file of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.lab import lab
from tests.checkpoints import make_smiles_checkpoint

pytestmark = pytest.mark.slow


def test_a_labs_own_causal_checkpoint_generates_and_every_sample_is_an_outcome(tmp_path: Path) -> None:
    make_smiles_checkpoint(tmp_path / "weights", seed=3)
    registry = tmp_path / "models.toml"
    registry.write_text(
        f"""
[own-smiles]
task = "generate"
engine = "causal"
default = true
weights = {{ path = "{tmp_path / "weights"}" }}
parameters = {{ samples = 1, temperature = 1.0, top_k = 0, top_p = 1.0, max_new_tokens = 32, seed = 0 }}
limits = {{ batch_rows = 32, batch_size = 100000, token_budget = 8192, max_rows = 256, max_tokens = 256 }}
"""
    )
    prompts = tmp_path / "prompts.smi"
    prompts.write_text("C p1\nc1ccccc1 p2\nN p3\n")
    with lab(models_file=str(registry)) as site:
        first, again, prompted = (
            json.loads(site.command("submit", *call, "--task", "generate", "--json").stdout)["job"]
            for call in (
                ["--count", "50", "--param", "samples=2"],
                ["--count", "50", "--param", "samples=2", "--again"],
                [str(prompts), "--param", "samples=4"],
            )
        )
        for job, outcomes in ((first, 100), (again, 100), (prompted, 12)):
            standing = site.wait(job, 240.0)
            assert (standing.succeeded, standing.failed, standing.total) == (outcomes, 0, outcomes)
        free = site.query("SELECT row, sample, smiles, nll, seed FROM analysis.generations WHERE job_id = %s", first)
        assert len({row["smiles"] for row in free}) > 50  # the outputs vary, so equality below says something
        same = site.query("SELECT row, sample, smiles FROM analysis.generations WHERE job_id = %s", again)
        by_key = {(row["row"], row["sample"]): row["smiles"] for row in free}
        assert {(row["row"], row["sample"]): row["smiles"] for row in same} == by_key
        starts = site.query("SELECT prompt, smiles FROM analysis.generations WHERE job_id = %s", prompted)
        assert all(row["smiles"].startswith(row["prompt"]) for row in starts)
