"""Several classifiers as one model: their mean and spread, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from schemas.ensemble import FILE, members
from schemas.errors import ModelUnavailable
from schemas.footprint import weights_bytes
from schemas.items import Item, Molecule
from schemas.registry import Endpoint
from schemas.revision import revision_of
from tests.classifier_checkpoint import (
    LABELS,
    classifier_entry,
    drugs,
    ensemble_entry,
    make_classifier_checkpoint,
    make_ensemble,
    word_level,
)
from workers.engines.classifier import ClassifierEngine, load
from workers.engines.contract import Prepared
from workers.engines.nearest import ENDPOINT

MEMBERS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ensemble(tmp_path_factory.mktemp("ensemble"), members=MEMBERS)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "copy")


def prepared(engine: ClassifierEngine, count: int = 40) -> list[Prepared]:
    made = [engine.cpu.prepare(Item(row, Molecule(one)), {})[0] for row, one in enumerate(drugs(count))]
    return [unit for unit in made if isinstance(unit, Prepared)]


def alone(folder: Path, kind: str) -> torch.Tensor:
    engine = load(classifier_entry(folder, kind=kind), "cpu")
    return torch.tensor([found.values for found in engine.run(prepared(engine))])


@pytest.mark.parametrize("problem", ["multi_label_classification", "single_label_classification", "regression"])
def test_values_are_the_members_mean_and_spreads_their_deviation(tmp_path: Path, problem: str) -> None:
    folder = make_ensemble(tmp_path, members=MEMBERS, problem=problem)
    kind = "regression" if problem == "regression" else "probability"
    engine = load(ensemble_entry(folder, kind=kind), "cpu")
    found = engine.run(prepared(engine))
    each = torch.stack([alone(one, kind) for one in members(folder)])
    assert len(each) == MEMBERS
    values = torch.tensor([one.values[:-1] for one in found])
    spread = torch.tensor([one.spread[:-1] for one in found])
    torch.testing.assert_close(values, each.mean(0), atol=1e-4, rtol=0)
    torch.testing.assert_close(spread, each.std(0, correction=0), atol=1e-4, rtol=0)
    assert (spread > 0.01).float().mean() > 0.5


def test_the_distance_stands_where_the_registry_names_it_and_has_no_spread(folder: Path) -> None:
    entry = ensemble_entry(folder)
    turned = entry.model_copy(update={"endpoints": entry.endpoints[::-1]})
    for model, place in ((entry, -1), (turned, 0)):
        engine = load(model, "cpu")
        units = prepared(engine)
        for unit, found in zip(units, engine.run(units), strict=True):
            assert found.values[place] == unit.data.distance
            assert (found.spread[place], found.percentile[place]) == (None, None)
        assert len({unit.data.distance for unit in units}) > 10
        assert min(unit.data.distance for unit in units) == 0  # learnt from


def test_a_model_that_is_asked_for_a_distance_and_has_no_fingerprints_is_refused(tmp_path: Path) -> None:
    entry = classifier_entry(make_classifier_checkpoint(tmp_path))
    with pytest.raises(ModelUnavailable, match="no distance can be told"):
        load(entry.model_copy(update={"endpoints": (*entry.endpoints, ENDPOINT)}), "cpu")


def test_a_descriptor_of_another_name_is_no_distance(folder: Path) -> None:
    other = Endpoint(name="logP", kind="descriptor")
    with pytest.raises(ModelUnavailable, match="'logP' is of kind 'probability'"):
        load(classifier_entry(folder, endpoints=(*ensemble_entry(folder).endpoints, other)), "cpu")


def test_a_folder_beside_the_members_is_none(copy: Path) -> None:
    shutil.copytree(copy / "member-0", copy / "member-7")
    assert [one.name for one in members(copy)] == ["member-0", "member-1", "member-2"]


def test_its_revision_is_that_of_all_its_files(copy: Path) -> None:
    before = revision_of(ensemble_entry(copy))
    weights = copy / "member-1" / "model.safetensors"
    *begin, last = weights.read_bytes()
    weights.write_bytes(bytes([*begin, last ^ 1]))
    changed = revision_of(ensemble_entry(copy))
    (copy / FILE).write_text(json.dumps({"members": ["member-0", "member-1"]}))
    assert len({before, changed, revision_of(ensemble_entry(copy))}) == 3


def test_its_memory_is_that_of_all_members(folder: Path) -> None:
    one = weights_bytes(classifier_entry(folder / "member-0"))
    assert one > 100_000
    assert weights_bytes(ensemble_entry(folder)) == MEMBERS * one


def test_members_that_read_or_mean_something_else_are_refused(copy: Path) -> None:
    config = copy / "member-1" / "config.json"
    kept = config.read_text()
    config.write_text(kept.replace(LABELS[0], "other"))
    with pytest.raises(ModelUnavailable, match="its members differ"):
        load(ensemble_entry(copy), "cpu")
    config.write_text(kept)
    word_level().save_pretrained(copy / "member-1")
    with pytest.raises(ModelUnavailable, match="its members differ"):
        load(ensemble_entry(copy), "cpu")


@pytest.mark.parametrize(
    "listed",
    [
        "",
        "[]",
        '{"members": 3}',
        '{"members": ["member-0"]}',
        '{"members": ["member-0", "member-0"]}',
        '{"members": ["member-0", "../other"]}',
        '{"members": ["member-0", ""]}',
        '{"members": ["member-0", 1]}',
    ],
)
def test_a_list_that_names_no_members_is_refused(tmp_path: Path, listed: str) -> None:
    (tmp_path / FILE).write_text(listed)
    with pytest.raises(ModelUnavailable, match=FILE):
        members(tmp_path)
