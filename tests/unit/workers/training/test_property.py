"""What a trained property model says by the engine as it is: in its labels' units, as an ensemble, and how far off."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from safetensors.numpy import load_file

from schemas.ensemble import members
from schemas.errors import UsageError
from schemas.items import Item, Molecule
from schemas.outcomes import Prediction
from schemas.scores import calibration_error
from workers.engines.contract import Prepared
from workers.engines.load import load_engine
from workers.engines.nearest import ENDPOINT, Learnt
from workers.training.labelled import read_labelled, split
from workers.training.product import Product
from workers.training.property import train
from workers.training.property_card import PropertyTraining
from workers.training.property_recipe import PropertyRecipe
from workers.training.smiles_source import SmilesSource

CHAINS = [(f"{'C' * length}{end}", length) for length in range(1, 13) for end in ("O", "N", "Cl", "F", "S")]
CHAINS += [(f"C1CC1{'C' * length}", length) for length in range(12)]  # of another scaffold
CHAINS += [(f"c1ccoc1{'C' * length}", length) for length in range(6)]


def trained(folder: Path, rows: list[tuple[str, float]], **other: object) -> tuple[PropertyTraining, Product]:
    """A small model of one task, trained in a folder of its own."""
    table = folder / "chains.csv"
    table.write_text("smiles,task\n" + "".join(f"{smiles},{label}\n" for smiles, label in rows))
    settings: dict[str, object] = {
        "data": str(table),
        "sha256": "",
        "smiles": "smiles",
        "tasks": (),
        "epochs": 2.0,
        "pretrain": None,
        "pretrain_sha256": None,
        "pretrain_limit": None,
        "pretrain_epochs": 1.0,
        "contrast": False,
        "temperature": 0.1,
        "width": 64,
        "layers": 1,
        "longest": 40,
        "batch": 16,
        "pretrain_batch": 16,
        "learning_rate": 1e-3,
        "pretrain_learning_rate": 1e-3,
        "dropout": 0.0,
        "augment": True,
        "precision": "fp32",
        "seed": 0,
        "members": 1,
    }
    recipe = PropertyRecipe(**settings | other)  # type: ignore[arg-type]
    product = Product(folder / "ours", "ours")
    product.folder.mkdir()
    source: SmilesSource | Path | None = None
    if recipe.pretrain is not None:
        source = Path(recipe.pretrain) if Path(recipe.pretrain).is_dir() else SmilesSource(recipe.pretrain, table)
    known = read_labelled(table, "smiles", ())
    return train(recipe, known, source, "CC0", product, save_seconds=60.0), product


def predicted(about: PropertyTraining, product: Product, smiles: list[str]) -> list[Prediction]:
    engine = load_engine(about.entry(product), "cpu")
    units = [engine.cpu.prepare(Item(row, Molecule(one)), {})[0] for row, one in enumerate(smiles)]
    found = engine.run([unit for unit in units if isinstance(unit, Prepared)])
    return [one for one in found if isinstance(one, Prediction)]


def test_values_come_in_the_units_of_their_labels_from_the_engine(tmp_path: Path) -> None:
    about, product = trained(tmp_path, [(smiles, 1000 + 10 * length) for smiles, length in CHAINS])
    assert (about.kind, about.entry(product).trained_on) == ("regression", ("chains",))
    (found,) = predicted(about, product, ["CCCCCO"])
    assert found.values[0] == pytest.approx(1060, abs=120)
    assert list(found.spread) == [None, None]


def test_each_prediction_tells_how_far_the_nearest_molecule_learnt_from_is(tmp_path: Path) -> None:
    about, product = trained(tmp_path, [(smiles, float(length)) for smiles, length in CHAINS])
    assert about.entry(product).endpoints[-1] == ENDPOINT
    chain, other, far = predicted(about, product, ["CCCCCO", "c1ccoc1CC", "c1ccccc1CCN"])
    assert chain.values[-1] == 0
    learnt = Learnt.read(product.model)
    for found in (other, far):
        assert found.values[-1] == pytest.approx(learnt.distance(Chem.MolFromSmiles(found.standardized)))
        assert found.values[-1] > 0.5
    card = json.loads((product.folder / "card.json").read_text())
    for part in ("validation", "test"):
        distance = card["measured"][part]["distance"]
        assert 0 < distance["median"] <= distance["nine tenths"] <= 1


EVEN = [(smiles, float(length % 2 == 0)) for smiles, length in CHAINS]


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> tuple[PropertyTraining, Product]:
    """Of three members over one pretrained encoder."""
    return trained(tmp_path_factory.mktemp("ensemble"), EVEN, members=3, seed=5, epochs=4.0, pretrain="chains")


@pytest.fixture(scope="module")
def single(
    ensemble: tuple[PropertyTraining, Product], tmp_path_factory: pytest.TempPathFactory
) -> tuple[PropertyTraining, Product]:
    """A run of one member's seed alone, from the same encoder."""
    encoder = str(ensemble[1].folder / "pretrained" / "model")
    return trained(tmp_path_factory.mktemp("single"), EVEN, seed=6, epochs=4.0, pretrain=encoder)


def test_members_differ_by_their_seeds_and_begin_with_the_same_encoder(
    ensemble: tuple[PropertyTraining, Product],
) -> None:
    about, product = ensemble
    assert [one.name for one in members(product.model)] == ["member-5", "member-6", "member-7"]
    assert [one.seed for one in about.members] == [5, 6, 7]
    weights = [load_file(one / "model.safetensors") for one in members(product.model)]
    heads = [one["classifier.weight"].tobytes() for one in weights]
    assert len(set(heads)) == 3
    name = "model.embeddings.tok_embeddings.weight"
    begun = load_file(product.folder / "pretrained" / "model" / "model.safetensors")[name]
    for one in weights:
        assert 0.9 < np.corrcoef(begun.ravel(), one[name].ravel())[0, 1] < 1


def test_a_member_is_what_a_run_of_its_seed_alone_makes(
    ensemble: tuple[PropertyTraining, Product], single: tuple[PropertyTraining, Product]
) -> None:
    """But for the last layer, which has the temperature that calibrates all members together."""
    ours = load_file(ensemble[1].model / "member-6" / "model.safetensors")
    theirs = load_file(single[1].model / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        if not name.startswith("classifier."):
            assert np.array_equal(weight, theirs[name]), name


def test_an_ensemble_has_a_spread_for_each_task_and_a_card_that_names_its_members(
    ensemble: tuple[PropertyTraining, Product],
) -> None:
    about, product = ensemble
    for found in predicted(about, product, [smiles for smiles, _ in CHAINS]):
        spread, none = found.spread
        assert spread is not None and spread > 0
        assert none is None
    card = json.loads((product.folder / "card.json").read_text())
    assert [one["seed"] for one in card["training"]["members"]] == [5, 6, 7]
    assert "--seed 5 --members 3" in card["command"]
    text = (product.folder / "README.md").read_text()
    assert "An ensemble of 3 encoders" in text
    for part in ("validation", "test"):
        before, after = (card["measured"][part][name]["mean"]["ECE"] for name in ("uncalibrated", "model"))
        assert f"{before:.3f} to {after:.3f} ({part})" in text


def test_the_card_has_the_calibration_error_as_it_would_be_without_the_temperature(
    single: tuple[PropertyTraining, Product],
) -> None:
    about, product = single
    assert about.measured is not None and about.temperatures is not None
    known = read_labelled(Path(about.recipe.data), "smiles", ())
    test = split(known, known.refused).parts["test"]
    found = predicted(about, product, [known.smiles[at] for at in test])
    said = np.array([one.values[0] for one in found], dtype=np.float64)
    raw = np.log(said / (1 - said)) * about.temperatures["task"]
    for name, probability in (("model", said), ("uncalibrated", 1 / (1 + np.exp(-raw)))):
        expected = calibration_error(known.labels[test, 0], probability, np.ones((1, len(test)), np.int64))[0]
        assert about.measured["test"][name]["task"]["ECE"] == pytest.approx(expected, abs=0.01)
    assert about.measured["test"]["model"] != about.measured["test"]["uncalibrated"]


def test_no_task_is_named_as_the_distance_is(tmp_path: Path) -> None:
    table = tmp_path / "exported.csv"
    table.write_text(f"smiles,{ENDPOINT.name},toxic\nCCO,0.25,1\nCCN,0.5,0\n")
    assert read_labelled(table, "smiles", ()).tasks == ("toxic",)
    with pytest.raises(UsageError, match=f"no task can be named {ENDPOINT.name}"):
        read_labelled(table, "smiles", (ENDPOINT.name,))
