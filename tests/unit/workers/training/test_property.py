"""A model of values predicts in the units of its labels, by the engine as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.items import Item, Molecule
from schemas.outcomes import Prediction
from workers.engines.contract import Prepared
from workers.engines.load import load_engine
from workers.training.labelled import read_labelled
from workers.training.product import Product
from workers.training.property import train
from workers.training.property_recipe import PropertyRecipe


def test_values_come_in_the_units_of_their_labels_from_the_engine(tmp_path: Path) -> None:
    table = tmp_path / "chains.csv"
    rows = [
        f"{'C' * length}{end},{1000 + 10 * length}" for length in range(1, 13) for end in ("O", "N", "Cl", "F", "S")
    ]
    rows += [f"C1CC1{'C' * length},{1000 + 10 * length}" for length in range(12)]  # of another scaffold
    rows += [f"c1ccoc1{'C' * length},{1000 + 10 * length}" for length in range(6)]
    table.write_text("smiles,length\n" + "\n".join(rows) + "\n")
    known = read_labelled(table, "smiles", ())
    recipe = PropertyRecipe(
        data=str(table),
        sha256="",
        smiles="smiles",
        tasks=(),
        epochs=2.0,
        pretrain=None,
        pretrain_sha256=None,
        pretrain_limit=None,
        pretrain_epochs=1.0,
        contrast=False,
        temperature=0.1,
        width=64,
        layers=1,
        longest=40,
        batch=16,
        pretrain_batch=16,
        learning_rate=1e-3,
        pretrain_learning_rate=1e-3,
        dropout=0.0,
        augment=True,
        precision="fp32",
        seed=0,
    )
    product = Product(tmp_path / "ours", "ours")
    product.folder.mkdir()
    about = train(recipe, known, None, "", product, save_seconds=60.0)
    assert (about.kind, about.entry(product).trained_on) == ("regression", ("chains",))
    engine = load_engine(about.entry(product), "cpu")
    units = engine.cpu.prepare(Item(0, Molecule("CCCCCO")), {})
    (found,) = engine.run([unit for unit in units if isinstance(unit, Prepared)])
    assert isinstance(found, Prediction)
    assert found.values[0] == pytest.approx(1060, abs=120)
