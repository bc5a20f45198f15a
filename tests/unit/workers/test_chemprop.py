"""The ADMET ensembles: equal to the package's own predictions, whatever shares the batch, and each rank explained."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import pickle
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rdkit import Chem
from scipy.stats import percentileofscore, spearmanr

from schemas.errors import ModelUnavailable, RowError
from schemas.items import Item, Molecule, Rejected
from schemas.outcomes import Failed, Prediction
from schemas.registry import ModelEntry, Weights, load_registry
from workers.engines.chemprop import ChempropEngine, load
from workers.engines.chemprop_ensemble import load_ensemble
from workers.engines.contract import Prepared
from workers.weights import locate

ENTRY = load_registry().get("admet-ai")
NAMES = [endpoint.name for endpoint in ENTRY.endpoints]
TABLE = pd.read_csv(locate(ENTRY.weights) / "data/drugbank_approved.csv", usecols=["smiles", *NAMES])
DRUGS: list[str] = TABLE["smiles"].tolist()
# 60 drugs of all sizes, with salts, single atoms, a metal complex and the largest peptide among them.
BY_SIZE = sorted(DRUGS, key=len)
SAMPLE = [*BY_SIZE[::49], "[NH3]->[Pt](<-[NH3])([Cl])[Cl]", "[Al]", BY_SIZE[-1]]

# What "equal" means: to 1e-4 absolute, or relative for values above 1 (half-lives and clearances run into hundreds).
EQUAL = 1e-4


@pytest.fixture(scope="module")
def engine() -> Iterator[ChempropEngine]:
    """One thread: tests share their cores, and torch's threads wait for each other in a busy loop."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield load(ENTRY, "cpu")
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def package() -> Any:
    """The package's own model; the alerts that it counts beside are left out, as they cost more than they test."""
    from admet_ai import ADMETModel, physchem

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        kept = {k: v for k, v in physchem.PHYSCHEM_PROPERTY_TO_FUNCTION.items() if not k.endswith("_alert")}
        patch.setattr(physchem, "PHYSCHEM_PROPERTY_TO_FUNCTION", kept)
        yield ADMETModel(num_workers=0)


def expected(package: Any, smiles: Sequence[str]) -> tuple[Any, Any]:
    """The package's values and percentiles, each (molecules, endpoints)."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        table = package.predict(list(smiles))
    ranks = [f"{name}_drugbank_approved_percentile" for name in NAMES]
    return table[NAMES].to_numpy(float), table[ranks].to_numpy(float)


def prepare(engine: ChempropEngine, smiles: Sequence[str], **parameters: Any) -> list[Prepared]:
    found = [engine.cpu.prepare(Item(row, Molecule(text)), parameters)[0] for row, text in enumerate(smiles)]
    return [row for row in found if isinstance(row, Prepared)]


def run(engine: ChempropEngine, rows: Sequence[Prepared], size: int = 32) -> list[Prediction]:
    return [outcome for start in range(0, len(rows), size) for outcome in engine.run(rows[start : start + size])]


def values(outcomes: Sequence[Prediction]) -> Any:
    return np.array([outcome.values for outcome in outcomes], dtype=float)


def difference(ours: Any, theirs: Any) -> float:
    """The largest difference, relative where the value is above 1."""
    return float((np.abs(ours - theirs) / np.maximum(1, np.abs(theirs))).max())


@pytest.mark.parametrize("standardize", ["none", "parent"])
def test_values_and_percentiles_equal_the_packages_own(engine: ChempropEngine, package: Any, standardize: str) -> None:
    outcomes = run(engine, prepare(engine, SAMPLE if standardize == "none" else SAMPLE[::4], standardize=standardize))
    theirs, ranks = expected(package, [outcome.standardized for outcome in outcomes])
    assert difference(values(outcomes), theirs) < EQUAL
    # A value next to a drug's own moves by a rank when it differs in the last digit; on the same values all is equal.
    found = np.array([outcome.percentile for outcome in outcomes], dtype=float)
    assert np.abs(found - ranks).max() < 2.5 * 100 / len(DRUGS)
    assert engine._reference is not None
    np.testing.assert_allclose(engine._reference.percentiles(theirs), ranks, atol=1e-9)


def test_the_reference_set_itself_is_reproduced(engine: ChempropEngine) -> None:
    """The package's table was computed by its authors, on another machine and with other kernels."""
    rows = prepare(engine, DRUGS[::60], standardize="none")
    ours = values(run(engine, rows))
    table = TABLE[NAMES].to_numpy(float)[::60]
    assert difference(ours, table) < 1e-3


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_approved_drugs_equal_the_packages_own(
    engine: ChempropEngine, package: Any, pytestconfig: pytest.Config
) -> None:
    """Every sixth by default; `make test-all` takes all 2,845, which is a few minutes of the package's own time."""
    torch.set_num_threads(os.cpu_count() or 1)
    drugs = DRUGS if pytestconfig.getoption("--all-drugs") else DRUGS[::6]
    rows = prepare(engine, drugs, standardize="none")
    assert len(rows) == len(drugs)
    rows.sort(key=lambda row: row.tokens)
    outcomes = run(engine, rows)
    theirs, ranks = expected(package, [outcome.standardized for outcome in outcomes])
    assert difference(values(outcomes), theirs) < EQUAL
    assert engine._reference is not None
    np.testing.assert_allclose(engine._reference.percentiles(theirs), ranks, atol=1e-9)


def test_values_do_not_depend_on_the_rows_that_share_the_batch(engine: ChempropEngine) -> None:
    rows = prepare(engine, SAMPLE, standardize="none")
    together = values(run(engine, rows))
    alone = values(run(engine, rows[::4], size=1))
    order = random.Random(7).sample(range(len(rows)), len(rows))
    shuffled = values(run(engine, [rows[place] for place in order], size=7))
    assert difference(alone, together[::4]) < 1e-5
    assert difference(shuffled, together[order]) < 1e-5


def test_the_stored_smiles_reproduces_the_values(engine: ChempropEngine) -> None:
    first = run(engine, prepare(engine, SAMPLE[::6]))
    stored = [outcome.standardized for outcome in first]
    again = run(engine, prepare(engine, stored, standardize="none"))
    assert [outcome.standardized for outcome in again] == stored
    assert [outcome.inchikey for outcome in again] == [outcome.inchikey for outcome in first]
    assert difference(values(again), values(first)) < 1e-5


def test_spellings_of_one_chiral_molecule_get_the_same_values(engine: ChempropEngine) -> None:
    """Chemprop's chiral tags follow the order of the atoms, so spellings as given would differ."""
    spellings = ["C[C@@H](O)CC", "CC[C@H](O)C", "[C@@H](C)(CC)O"]
    outcomes = run(engine, prepare(engine, spellings))
    assert outcomes[0].values == pytest.approx(outcomes[1].values, abs=1e-5)
    assert outcomes[0].values == pytest.approx(outcomes[2].values, abs=1e-5)


def test_spread_is_the_deviation_over_the_members_and_absent_for_descriptors(engine: ChempropEngine) -> None:
    rows = prepare(engine, ["CC(=O)Oc1ccccc1C(=O)O"])
    (outcome,) = engine.run(rows)
    from chemprop.data import BatchMolGraph
    from chemprop.featurizers import SimpleMoleculeMolGraphFeaturizer
    from chemprop.models import load_model

    files = sorted((locate(ENTRY.weights) / "models/admet_regression").glob("*.pt"))
    with torch.inference_mode():
        graph = SimpleMoleculeMolGraphFeaturizer()(Chem.MolFromSmiles(outcome.standardized))
        members = [load_model(file).eval()(BatchMolGraph([graph]))[0] for file in files]
    spread = torch.stack(members).std(dim=0, correction=0)
    first = NAMES.index("Caco2_Wang")
    assert outcome.spread[first : first + 10] == pytest.approx(spread.tolist(), rel=1e-4)
    for endpoint, number in zip(ENTRY.endpoints, outcome.spread, strict=True):
        assert (number is None) == (endpoint.kind == "descriptor")


def test_outcomes_hold_plain_numbers_in_the_registrys_order(engine: ChempropEngine) -> None:
    (outcome,) = run(engine, prepare(engine, ["CCO"]))
    assert (outcome.row, outcome.standardized, outcome.inchikey) == (0, "CCO", "LFQSCWFLJHTTHZ-UHFFFAOYSA-N")
    assert len(outcome.values) == len(outcome.spread) == len(outcome.percentile) == 49
    assert all(type(number) is float and math.isfinite(number) for number in outcome.values)
    assert outcome.values[NAMES.index("molecular_weight")] == pytest.approx(46.069)
    for endpoint, value, rank in zip(ENTRY.endpoints, outcome.values, outcome.percentile, strict=True):
        assert rank is not None
        assert 0 <= rank <= 100
        assert endpoint.kind != "probability" or (value is not None and 0 <= value <= 1)


def test_a_value_that_is_no_number_becomes_none(engine: ChempropEngine) -> None:
    ensemble = engine._ensembles[0]
    broken = replace(ensemble.members[0], atom_bias=torch.full_like(ensemble.members[0].atom_bias, math.nan))
    ensembles = [replace(ensemble, members=(broken, *ensemble.members[1:])), *engine._ensembles[1:]]
    (outcome,) = ChempropEngine(ENTRY, "cpu", ensembles, engine._reference).run(prepare(engine, ["CCO"]))
    assert outcome.values[0] is outcome.spread[0] is outcome.percentile[0] is None
    assert outcome.values[NAMES.index("tpsa")] == pytest.approx(20.23)


def test_percentiles_are_mean_ranks(engine: ChempropEngine) -> None:
    assert engine._reference is not None
    drug = TABLE[NAMES].to_numpy(float)[10]
    probes = np.stack([drug, drug + 1e-9, np.full(len(NAMES), -1e9), np.full(len(NAMES), 1e9)])
    by_hand = [
        [percentileofscore(TABLE[name], score) for name, score in zip(NAMES, row, strict=True)] for row in probes
    ]
    np.testing.assert_allclose(engine._reference.percentiles(probes), by_hand, atol=1e-9)


def test_bad_rows_are_failures_with_their_reason(engine: ChempropEngine) -> None:
    def failure(content: Molecule | Rejected) -> Failed:
        (found,) = engine.cpu.prepare(Item(5, content), {})
        assert isinstance(found, Failed)
        assert found.row == 5
        return found

    assert failure(Molecule("C1CC")).code is RowError.INVALID_SMILES
    assert failure(Molecule("CCO ethanol")).code is RowError.TRAILING_TEXT
    assert failure(Molecule("C" * 401)).code is RowError.TOO_LONG
    assert failure(Rejected(RowError.MISSING_FIELD, "no smiles")) == Failed(5, RowError.MISSING_FIELD, "no smiles")


def test_prepared_rows_can_travel_between_processes(engine: ChempropEngine) -> None:
    rows = prepare(engine, SAMPLE[:3], standardize="none")
    assert run(engine, pickle.loads(pickle.dumps(rows))) == run(engine, rows)


def test_threads_prepare_what_one_thread_prepares(engine: ChempropEngine) -> None:
    items = [Item(row, Molecule(smiles)) for row, smiles in enumerate(SAMPLE * 3)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda item: engine.cpu.prepare(item, {})[0], items))
    for item, found in zip(items, together, strict=True):
        (one,) = engine.cpu.prepare(item, {})
        assert type(found) is type(one)
        if isinstance(one, Prepared):
            assert (found.row, found.tokens, found.data.smiles) == (one.row, one.tokens, one.data.smiles)
            assert found.data.descriptors == one.data.descriptors
            assert all(np.array_equal(a, b) for a, b in zip(found.data.graph, one.data.graph, strict=True))


def altered(**changes: Any) -> ModelEntry:
    return ENTRY.model_copy(update=changes)


def test_files_outside_a_pinned_package_are_not_unpickled(tmp_path: Any) -> None:
    with pytest.raises(ModelUnavailable, match="only from a package that the registry pins"):
        load(altered(weights=Weights(path=tmp_path)), "cpu")


def test_an_unlisted_file_in_the_package_is_refused() -> None:
    hashes = dict(list(ENTRY.weights.sha256.items())[1:])
    with pytest.raises(ModelUnavailable, match=r"pins 9 \.pt files, found 10"):
        load(altered(weights=ENTRY.weights.model_copy(update={"sha256": hashes})), "cpu")


def test_endpoints_that_the_model_does_not_predict_are_refused() -> None:
    with pytest.raises(ModelUnavailable, match="endpoints differ"):
        load(altered(endpoints=ENTRY.endpoints[1:]), "cpu")


def test_other_precisions_are_refused() -> None:
    with pytest.raises(ModelUnavailable, match="fp32 or bf16, not int8"):
        load(altered(precision="int8"), "cpu")


def test_bf16_keeps_the_order_of_molecules_in_every_endpoint(engine: ChempropEngine) -> None:
    rows = prepare(engine, TABLE["smiles"][::6].tolist(), standardize="none")
    exact = np.array([outcome.values for outcome in run(engine, rows)])
    found = np.array([outcome.values for outcome in run(load(altered(precision="bf16"), "cpu"), rows)])
    assert (exact != found).any()
    for place, endpoint in enumerate(ENTRY.endpoints):
        assert spearmanr(exact[:, place], found[:, place]).statistic >= 0.999, endpoint.name


def test_an_architecture_that_would_be_computed_wrongly_is_refused(tmp_path: Any) -> None:
    from chemprop.models import MPNN
    from chemprop.models.utils import save_model
    from chemprop.nn import AtomMessagePassing, BondMessagePassing, MeanAggregation, NormAggregation, RegressionFFN

    for passing, aggregation, reason in (
        (AtomMessagePassing(), NormAggregation(), "over directed bonds"),
        (BondMessagePassing(), MeanAggregation(), "scaled sum"),
        (BondMessagePassing(activation="tanh"), NormAggregation(), "ReLU"),
    ):
        file = tmp_path / "model.pt"
        save_model(file, MPNN(passing, aggregation, RegressionFFN()), ["x"])
        with pytest.raises(ModelUnavailable, match=reason):
            load_ensemble([file], "cpu", torch.float32)
