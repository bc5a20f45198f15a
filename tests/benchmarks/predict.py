"""Approved drugs through `predict`, submit to last row in PostgreSQL, beside ADMET-AI's own predict in one process.

The same molecules as they are given, the same 41 endpoints, descriptors and ranks; the values are compared too. And
beside what our own engine does in a process of its own, without queue and database.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pandas as pd
import torch
from scipy.stats import spearmanr

from producer.demo_corpora import approved_drugs
from schemas.items import Item, Molecule
from schemas.registry import load_registry
from tests.acceptance.lab import Lab, lab
from tests.benchmarks.figures import Figure, alternate
from tests.benchmarks.submitting import job_seconds
from workers.batcher import Batcher
from workers.engines.load import load_engine
from workers.workshop import Workshop

MOLECULES = 2000
TOLERANCE = 1e-4
SPEARMAN = 0.999
PARAMETERS = {"standardize": "none"}


def figures() -> list[Figure]:
    """All ways in turn, each with its models loaded."""
    from admet_ai import ADMETModel

    smiles = [record.content.smiles for record in islice(approved_drugs(), MOLECULES)]  # type: ignore[union-attr]
    theirs = ADMETModel(num_workers=0)
    with lab() as site:
        source = site.home / "drugs.csv"
        pd.DataFrame({"smiles": smiles}).to_csv(source, index_label="number")
        predicted: list[pd.DataFrame] = []

        def own() -> float:
            began = time.monotonic()
            predicted[:] = [theirs.predict(smiles)]
            return time.monotonic() - began

        ways: dict[str, Callable[[], float]] = {
            "fp32": lambda: job_seconds(site, str(source), "admet-ai"),
            "bf16": lambda: job_seconds(site, str(source), "admet-ai-bf16"),
            "loop": _loop(smiles),
            "theirs": own,
        }
        seconds = alternate(ways, repeats=3)
        exact = _values(site, "admet-ai")
        _compare(exact, predicted[0])
        _compare_ranks(exact, _values(site, "admet-ai-bf16"))
    rates = {way: MOLECULES / taken for way, taken in seconds.items()}
    package, loop = "admet_ai, one process", "our engine in one process"
    return [
        Figure("predict-fp32", package, rates["fp32"], rates["theirs"], "molecules/s", 3.0),
        Figure("predict-bf16", package, rates["bf16"], rates["theirs"], "molecules/s", 6.0),
        Figure("predict-end-to-end", loop, rates["fp32"], rates["loop"], "molecules/s", 0.9),
    ]


def _loop(smiles: list[str]) -> Callable[[], float]:
    """The engine with its preparing process and its batcher, as a worker has them."""
    torch.set_num_threads(2)
    engine = load_engine(load_registry().get("admet-ai"), "cpu")
    batcher, workshop = Batcher(engine), Workshop(engine.cpu, processes=2)
    batcher.start()
    items = [Item(row, Molecule(one)) for row, one in enumerate(smiles)]

    def compute(batch: list[Item]) -> int:
        units, failed = workshop.prepare(batch, PARAMETERS, 1)
        return len(failed) + len(batcher.submit(units, job=1).result(600.0))

    def way() -> float:
        began = time.monotonic()
        with ThreadPoolExecutor(8) as slots:
            done = sum(slots.map(compute, [items[start : start + 128] for start in range(0, len(items), 128)]))
        assert done == len(smiles)
        return time.monotonic() - began

    return way


def _values(site: Lab, model: str) -> pd.DataFrame:
    """The model's newest job's predictions: a column an endpoint, by row."""
    found = site.query(
        "SELECT p.row, m.endpoints, p.values FROM sciqueue.predictions p JOIN sciqueue.jobs j ON j.id = p.job_id "
        "JOIN sciqueue.models m ON m.id = j.model_id WHERE p.error_code IS NULL AND p.job_id = "
        "(SELECT max(j.id) FROM sciqueue.jobs j JOIN sciqueue.models m ON m.id = j.model_id WHERE m.name = %s) "
        "ORDER BY p.row",
        model,
    )
    return pd.DataFrame(
        [row["values"] for row in found], index=[row["row"] for row in found], columns=found[0]["endpoints"]
    )


def _compare(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Raise AssertionError if a value differs from ADMET-AI's own."""
    assert len(ours) > 0.99 * len(theirs)
    for name in ours:
        expected = theirs[name].reset_index(drop=True)[ours.index]
        difference = ((ours[name] - expected).abs() / expected.abs().clip(lower=1.0)).max()
        assert difference < TOLERANCE, f"{name} differs by {difference:.1e}"


def _compare_ranks(exact: pd.DataFrame, rounded: pd.DataFrame) -> None:
    """Raise AssertionError if an endpoint orders the molecules otherwise."""
    assert not exact.equals(rounded)
    for name in exact:
        agreement = spearmanr(exact[name], rounded[name]).statistic
        assert agreement >= SPEARMAN, f"{name}: Spearman {agreement:.4f}"
