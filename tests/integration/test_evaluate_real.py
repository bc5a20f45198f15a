"""Evaluations on real data: MOSES's own molecules as if a model had made them, and the labels of Tox21."""

from __future__ import annotations

import gzip
import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import submitted
from simulated_worker import work_off

from producer.client import Client
from producer.evaluation import chemnet, generation
from producer.evaluation.metric import Metric
from producer.evaluation.molecules import PROPERTIES, describe
from producer.evaluation.reference import Reference, reference
from schemas.database import Database
from schemas.errors import ConfigurationError
from schemas.items import Item, Molecule, Task
from schemas.outcomes import Outcome, Prediction
from schemas.settings import load_settings


def quiet(*_: object) -> None:
    pass


@pytest.fixture(scope="module")
def test_set(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    try:
        chemnet.weights()
        return reference("moses:test", tmp_path_factory.mktemp("references"))
    except ConfigurationError as fault:
        pytest.skip(str(fault))


def molecules_of(file: Path, count: int) -> list[str]:
    with gzip.open(file, "rt") as lines:
        return random.Random(7).sample([line.strip() for line in lines][1:], count)


@pytest.mark.slow
def test_moses_own_statistics_are_what_we_compute(test_set: Reference) -> None:
    """They come with the package, made by an RDKit of 2020, and are taken as they are."""
    theirs = test_set.described(quiet)
    with gzip.open(test_set.file, "rt") as lines:
        smiles = [line.strip() for line in lines][1:]
    assert theirs.given == len(smiles) == 176_074
    chosen = random.Random(3).sample(range(len(smiles)), 200)
    ours = describe([smiles[place] for place in chosen], filters=False, what="", progress=quiet)
    np.testing.assert_array_equal(ours.fingerprints, theirs.fingerprints[chosen])
    for name in PROPERTIES:
        np.testing.assert_allclose(ours.properties[name], theirs.properties[name][chosen], rtol=1e-9)
    assert all(theirs.fragments[piece] >= count for piece, count in ours.fragments.items())
    assert all(theirs.scaffolds[found] >= count for found, count in ours.scaffolds.items())


@pytest.mark.slow
def test_chemnet_reads_molecules_as_fcd_torch_does(test_set: Reference) -> None:
    from fcd_torch import FCD

    smiles = molecules_of(test_set.file, 40)
    canonical = describe(smiles, filters=False, what="", progress=quiet).canonical
    ours = chemnet.activations(canonical, what="", progress=quiet)
    theirs = FCD(n_jobs=1).precalc(smiles)
    np.testing.assert_allclose(ours.mean, theirs["mu"], atol=1e-5)
    np.testing.assert_allclose(ours.covariance, theirs["sigma"], atol=1e-5)


@pytest.mark.slow
def test_real_molecules_have_the_figures_that_moses_published_for_them(test_set: Reference, tmp_path: Path) -> None:
    """Training molecules as if they were generated. Polykovskiy et al. 2020, table 2, row "Train"."""
    smiles = molecules_of(test_set.file.with_name("train.csv.gz"), 600)
    known = tmp_path / "known.smi"
    known.write_text("\n".join(smiles) + "\n")
    found: dict[str, Metric] = {
        one.name: one
        for one in generation.judge(smiles, reference(str(known), tmp_path), [test_set], fcd=True, progress=quiet)
    }
    exact = {"Valid": 1.0, "Unique@1k": 1.0, "Novelty": 0.0}
    assert {name: found[name].value for name in exact} == exact
    # Means within four standard errors. Among so few, that each is like itself weighs more, most in IntDiv2.
    near = {"SNN/Test": (0.642, 0.016), "IntDiv": (0.857, 0.003), "IntDiv2": (0.851, 0.01), "Filters": (1.0, 0.002)}
    near |= {"Frag/Test": (1.0, 0.01), "QED mean": (0.807, 0.016), "logP mean": (2.44, 0.15)}
    for name, (published, tolerance) in near.items():
        assert found[name].value == pytest.approx(published, abs=tolerance), name
    fcd = found["FCD/Test"].value
    assert fcd is not None
    assert 0.5 < fcd < 3.5  # .008 for 30,000; so few samples cannot come closer
    scaf = found["Scaf/Test"].value
    assert scaf is not None
    assert 0.4 < scaf < 1.0


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.usefixtures("command_settings")
def test_tox21_is_judged_on_rare_scaffolds_beside_the_forest(
    data_dir: Path, database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models.toml"
    models.write_text(
        """
        [chance]
        task = "predict"
        engine = "fake"
        endpoints = [{ name = "NR-AhR", kind = "probability" }]
        limits = { batch_rows = 2000, batch_size = 1000000, token_budget = 1000, max_rows = 100, max_tokens = 100 }
        """
    )
    monkeypatch.setenv("SCIQUEUE_MODELS_FILE", str(models))

    def by_chance(item: Item, sample: int) -> Outcome:
        assert isinstance(item.content, Molecule)
        value = zlib.crc32(item.content.smiles.encode()) / 2**32
        return Prediction(item.row, item.content.smiles, "KEY", [value], [None], [None])

    job = submitted(data_dir / "molecules" / "tox21.csv.gz", "--model", "chance")
    work_off(database, Task.PREDICT, by_chance)
    with Client(database_url, load_settings()) as client:
        found = client.evaluate(job)
    auc: dict[str, Any] = {one.system: one for one in found.metrics if one.name == "ROC-AUC"}
    chance, forest, apart = (auc[system] for system in ("model", "ECFP4 + random forest", "model minus baseline"))
    assert chance.low < 0.5 < chance.high
    assert 0.75 < forest.value < 0.95
    assert apart.high < 0
    assert chance.n == forest.n
    assert 550 < chance.n < 800  # of a tenth of 8,014, those with a label for this assay
    assert found.counts["rows"] == 8014
    assert found.counts["tested"] + found.counts["not in the test part"] == 8014 - found.counts["no molecule"] - (
        found.counts.get("without a label", 0)
    )
