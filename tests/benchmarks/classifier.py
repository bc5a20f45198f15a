"""Molecules through a ChemBERTa-2 shape, submit to last row in PostgreSQL, beside what else a lab would use.

Random weights of DeepChem/ChemBERTa-77M-MTR's shape (3 layers, 12 heads, width 384), canonical SMILES of drugs of all
lengths, two torch threads on each side and models loaded beforehand. Ours reads each molecule with RDKit, gives it its
InChIKey and keeps it in a database, too. Values are compared.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from rdkit import Chem

from tests.acceptance.lab import Lab, lab
from tests.benchmarks.celery_rivals import ask_all, celery_worker
from tests.benchmarks.figures import Figure, alternate, in_a_thread
from tests.benchmarks.line_rival import RIVALS, line_rival
from tests.benchmarks.submitting import job_seconds
from tests.classifier_checkpoint import LABELS, byte_level, drugs, make_classifier_checkpoint

MOLECULES = 500
PASSES = 4  # as many copies of the molecules: enough for a steady rate, none of them equal
SIZES = (8, 16, 32, 64, 128)  # the pipeline is tried with these
SHAPE = {"hidden_size": 384, "intermediate_size": 464, "num_hidden_layers": 3, "num_attention_heads": 12}
REGISTRY = """
[chemberta-shape]
task = "predict"
engine = "classifier"
weights = {{ path = "{folder}" }}
endpoints = [{endpoints}]
parameters = {{ standardize = "none", tautomers = false }}
limits = {{ batch_rows = 256, batch_size = 1_000_000, token_budget = 16384, max_rows = 512, max_tokens = 512 }}
"""
TOLERANCE = 1e-4

Way = Callable[[], float]


def figures() -> list[Figure]:
    """All sides in turn, each with its model loaded."""
    smiles = _molecules()
    with tempfile.TemporaryDirectory() as home, ExitStack() as running:
        folder = Path(home)
        in_a_thread(
            lambda: make_classifier_checkpoint(folder, tokenizer=byte_level(600), initializer_range=0.08, **SHAPE)
        )
        endpoints = ", ".join(f'{{ name = "{name}", kind = "probability" }}' for name in LABELS)
        registry = folder / "models.toml"
        registry.write_text(REGISTRY.format(folder=folder, endpoints=endpoints))
        site = running.enter_context(lab(models_file=str(registry)))
        found: dict[str, list[list[float]]] = {}
        pipeline = _pipeline(folder)
        best = min(SIZES, key=lambda size: in_a_thread(lambda: pipeline(smiles[:MOLECULES], size)[0]))

        def kept(way: str, run: Callable[[], tuple[float, list[list[float]]]]) -> Way:
            def timed() -> float:
                seconds, found[way] = run()
                return seconds

            return timed

        celery = running.enter_context(celery_worker(site, "celery_rivals", "solo", checkpoint=folder))
        batches = running.enter_context(
            celery_worker(site, "batches_rival", "prefork", python=RIVALS, checkpoint=folder)
        )
        texts = folder / "smiles.json"
        texts.write_text(json.dumps(smiles))
        quiet = {"RIVAL_CHECKPOINT": str(folder), "RAY_USAGE_STATS_ENABLED": "0"}
        ray = running.enter_context(line_rival("ray_rival", texts, **quiet))
        against = {
            f"transformers pipeline, batches of {best}": kept("pipeline", lambda: pipeline(smiles, best)),
            "Celery, a task a molecule": kept("celery", lambda: _celery(celery, "classify", smiles)),
            "celery-batches": kept("batches", lambda: _celery(batches, "classify_batch", smiles)),
            "Ray Data map_batches": kept("ray", ray),
        }
        source = _source(site, smiles)
        ours: dict[str, Way] = {"ours": lambda: job_seconds(site, source, "chemberta-shape")}
        seconds = alternate(ours | against, repeats=3)
        found["ours"] = _values(site)
    for way, values in found.items():
        difference = (torch.tensor(values) - torch.tensor(found["pipeline"])).abs().max().item()
        assert difference < TOLERANCE, f"{way} differs by {difference:.1e}"
    assert torch.tensor(found["ours"]).std(0).min() > 0.01, "the molecules' values hardly differ"
    rate = {way: len(smiles) / taken for way, taken in seconds.items()}
    return [Figure("classifier", way, rate["ours"], rate[way], "molecules/s", 1.0) for way in against]


def _molecules() -> list[str]:
    """Canonical SMILES of drugs, each also with one to three carbons in front, so that no side may reuse a result."""
    found: dict[str, None] = {}
    for length in range(PASSES):
        for text in drugs(MOLECULES):
            molecule = Chem.MolFromSmiles("C" * length + text)
            if molecule is not None:
                found[Chem.MolToSmiles(molecule)] = None
    # What settles into another text when it is read again would be another input for ours than for the others.
    return [text for text in found if Chem.CanonSmiles(text) == text and len(text) < 400]


def _source(site: Lab, smiles: list[str]) -> str:
    path = site.home / "drugs.csv"
    path.write_text("smiles\n" + "\n".join(smiles) + "\n")
    return str(path)


def _values(site: Lab) -> list[list[float]]:
    """Of the newest job, in the order of its rows."""
    rows = site.query(
        "SELECT values FROM sciqueue.predictions WHERE job_id = (SELECT max(id) FROM sciqueue.jobs) ORDER BY row"
    )
    return [row["values"] for row in rows]


def _pipeline(folder: Path) -> Callable[[list[str], int], tuple[float, list[list[float]]]]:
    from transformers import pipeline

    torch.set_num_threads(2)
    classify: Any = in_a_thread(lambda: pipeline("text-classification", model=str(folder), tokenizer=str(folder)))

    def run(smiles: list[str], size: int) -> tuple[float, list[list[float]]]:
        began = time.monotonic()
        found = classify(smiles, batch_size=size, top_k=None, function_to_apply="sigmoid")
        seconds = time.monotonic() - began
        return seconds, [[{one["label"]: one["score"] for one in row}[name] for name in LABELS] for row in found]

    return run


def _celery(sender: Any, task: str, smiles: list[str]) -> tuple[float, list[list[float]]]:
    began = time.monotonic()
    found = ask_all(sender, task, smiles)
    return time.monotonic() - began, found
