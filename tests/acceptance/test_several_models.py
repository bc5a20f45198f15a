"""Two models that do not fit together in one worker, set up as a lab would, and what the worker's log says of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.acceptance.lab import lab
from tests.checkpoints import make_smiles_checkpoint
from tests.classifier_checkpoint import LABELS, drugs, make_classifier_checkpoint

pytestmark = pytest.mark.slow


def test_models_that_do_not_fit_together_take_turns_and_the_log_says_what_each_has_done(tmp_path: Path) -> None:
    make_smiles_checkpoint(tmp_path / "causal", seed=3)
    make_classifier_checkpoint(tmp_path / "classifier")
    registry = tmp_path / "models.toml"
    limits = "batch_rows = 8, batch_size = 100000, token_budget = 8192, max_rows = 256"
    endpoints = ", ".join(f'{{ name = "{label}", kind = "probability" }}' for label in LABELS)
    registry.write_text(
        f"""
[own-smiles]
task = "generate"
engine = "causal"
weights = {{ path = "{tmp_path / "causal"}" }}
parameters = {{ samples = 1, temperature = 1.0, top_k = 0, top_p = 1.0, max_new_tokens = 32, seed = 0 }}
limits = {{ {limits}, max_tokens = 128 }}

[own-classifier]
task = "predict"
engine = "classifier"
weights = {{ path = "{tmp_path / "classifier"}" }}
endpoints = [{endpoints}]
limits = {{ {limits}, max_tokens = 512 }}
"""
    )
    molecules = tmp_path / "some.smi"
    molecules.write_text("".join(f"{smiles} m{row}\n" for row, smiles in enumerate(drugs(80))))
    room = max(file.stat().st_size for file in tmp_path.glob("*/model.safetensors"))  # for each, not for both
    with lab(models_file=str(registry), model_memory=str(room), slots="4") as site:
        calls = (["--model", "own-smiles", "--count", "80"], [str(molecules), "--model", "own-classifier"])
        jobs = [json.loads(site.command("submit", *call, "--json").stdout)["job"] for call in calls]
        generated, predicted = (site.wait(job, 240.0) for job in jobs)
        assert (generated.succeeded, generated.failed) == (80, 0)
        assert predicted.done == 80 and predicted.succeeded > 70
        site.command("down")
        log = (site.home / "logs" / "worker.log").read_text()
    assert "put away own-" in log
    for model, rows in (("own-smiles", 80), ("own-classifier", predicted.succeeded)):
        loads = log.count(f"loaded {model} in ")
        (line,) = re.findall(rf"in all {model}: (.*)", log)
        assert line.startswith(f"{rows:,} rows in ")
        steps = re.search(r"; claim 10x .*, model 10x .*, load (\d+)x .*, prepare 10x .*, compute 10x .*, finish", line)
        assert steps and int(steps[1]) == loads < 10
    assert re.search(r"batch \d+, fence \d+: done \(claim .* ms, model .*, compute .*, complete \d+ ms\)", log)
