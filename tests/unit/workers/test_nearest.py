"""The distance to the nearest molecule that was learnt from, and the file that it is told by."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from safetensors.numpy import save_file

from schemas.errors import ModelUnavailable
from tests.classifier_checkpoint import drugs
from workers.engines.nearest import FILE, Learnt
from workers.training.quality import ecfp4

LEARNT, ASKED = drugs(120)[:80], drugs(120)[80:]


def distances(learnt: Learnt, smiles: list[str]) -> list[float]:
    return [learnt.distance(Chem.MolFromSmiles(one)) for one in smiles]


def test_it_is_one_minus_the_largest_share_of_common_bits() -> None:
    known, asked = ecfp4(LEARNT).astype(int), ecfp4(ASKED).astype(int)
    common = asked @ known.T
    either = asked.sum(1)[:, None] + known.sum(1)[None] - common
    expected = 1 - (common / either).max(axis=1)
    assert distances(Learnt.of(LEARNT), ASKED) == pytest.approx(expected.tolist())
    assert 0.1 < expected.mean() < 0.9


def test_what_was_learnt_from_lies_at_zero_however_it_is_written() -> None:
    assert distances(Learnt.of(["OCC", "c1ccccc1"]), ["C(C)O", "C1=CC=CC=C1"]) == [0, 0]
    assert distances(Learnt.of(["C"]), ["c1ccccc1"]) == [1]


def test_it_is_the_same_from_its_file_and_in_another_process(tmp_path: Path) -> None:
    learnt = Learnt.of(LEARNT)
    learnt.save(tmp_path)
    expected = distances(learnt, ASKED)
    assert distances(Learnt.read(tmp_path), ASKED) == distances(pickle.loads(pickle.dumps(learnt)), ASKED) == expected


def test_the_file_depends_on_the_molecules_alone(tmp_path: Path) -> None:
    for name, smiles in (("one", LEARNT), ("other", [*LEARNT[::-1], *LEARNT[:9]])):
        (tmp_path / name).mkdir()
        Learnt.of(smiles).save(tmp_path / name)
    assert (tmp_path / "one" / FILE).read_bytes() == (tmp_path / "other" / FILE).read_bytes()


@pytest.mark.parametrize(
    ("tensors", "why"),
    [
        (None, "cannot be read"),
        ({"other": np.zeros((2, 256), np.uint8)}, "cannot be read"),
        ({"ecfp4": np.zeros((2, 128), np.uint8)}, "no fingerprints of 2048 bits"),
        ({"ecfp4": np.zeros((2, 256), np.float32)}, "no fingerprints of 2048 bits"),
        ({"ecfp4": np.zeros((0, 256), np.uint8)}, "no fingerprints of 2048 bits"),
    ],
)
def test_a_file_that_tells_no_distance_is_refused(
    tmp_path: Path, tensors: dict[str, np.ndarray] | None, why: str
) -> None:
    if tensors is None:
        (tmp_path / FILE).write_bytes(b"no tensors")
    else:
        save_file(tensors, tmp_path / FILE)
    with pytest.raises(ModelUnavailable, match=why):
        Learnt.read(tmp_path)
