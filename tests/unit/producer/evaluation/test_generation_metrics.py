"""Each metric of generation on cases small enough to work out by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from producer.evaluation import chemnet, generation, similarity
from producer.evaluation.chemnet import Activations
from producer.evaluation.molecules import describe, parsed, passes, scaffold
from producer.evaluation.reference import reference
from schemas.errors import UsageError


def quiet(*_: object) -> None:
    pass


def packed(*rows: list[int]) -> np.ndarray:
    """Fingerprints of 16 bits with these bits set."""
    bits = np.zeros((len(rows), 16), np.uint8)
    for place, row in enumerate(rows):
        bits[place, row] = 1
    return np.packbits(bits, axis=1)


def test_unique_counts_distinct_molecules_among_the_first_k_valid_samples() -> None:
    canonical = ["C", "CC", "C", "CCC", "CCCC"]
    first = generation.unique(canonical, "3", 3)
    assert (first.value, first.n, first.note) == (2 / 3, 3, "")
    fewer = generation.unique(canonical, "1k", 1000)
    assert (fewer.name, fewer.value, fewer.n) == ("Unique@1k", 4 / 5, 5)
    assert "all valid samples" in fewer.note


def test_novelty_is_over_distinct_molecules_and_compares_canonical_forms(tmp_path: Path) -> None:
    known = tmp_path / "known.smi"
    known.write_text("OCC ethanol\nc1ccccc1O\nno-molecule\n")
    found = reference(str(known), tmp_path).known(quiet)
    assert (len(found.keys), found.unreadable) == (2, 1)
    metric = generation.novelty(["CCO", "CCO", "CCN", "CCC"], found)
    assert (metric.value, metric.n, metric.of) == (2 / 3, 3, "distinct valid molecules")
    assert metric.low is not None and metric.high is not None
    assert metric.low < 2 / 3 < metric.high


def test_an_empty_text_and_a_text_with_a_name_are_no_valid_molecules() -> None:
    texts = ["CCO", "", "CC name", "C1CC", "c1ccccc1"]
    found = describe(texts, filters=False, what="", progress=quiet)
    assert (found.given, found.canonical) == (5, ["CCO", "c1ccccc1"])


def test_nearest_similarity_is_that_of_the_most_alike_in_the_stock() -> None:
    rows = packed([0, 1, 2, 3], [8])
    stock = packed([0, 1], [0, 1, 2, 9], [12])
    best = similarity.nearest(rows, stock, what="", progress=quiet)
    assert best == pytest.approx([3 / 5, 0.0])


def test_internal_diversity_is_over_all_pairs_with_each_itself() -> None:
    rows = packed([0, 1], [0, 2], [5])
    one, two = generation.internal_diversity(rows, quiet)
    means = [(1 + 1 / 3) / 3, (1 + 1 / 3) / 3, 1 / 3]
    squares = [(1 + 1 / 9) / 3, (1 + 1 / 9) / 3, 1 / 3]
    assert one == pytest.approx(1 - sum(means) / 3)
    assert two == pytest.approx(1 - sum(square**0.5 for square in squares) / 3)


def test_similarities_do_not_depend_on_how_they_are_cut_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.packbits(np.random.default_rng(0).random((37, 64)) < 0.2, axis=1)
    whole = (
        similarity.nearest(rows[:10], rows[10:], what="", progress=quiet),
        *similarity.internal(rows, what="", progress=quiet),
    )
    monkeypatch.setattr(similarity, "_ROWS", 4)
    monkeypatch.setattr(similarity, "_STOCK", 5)
    cut = (
        similarity.nearest(rows[:10], rows[10:], what="", progress=quiet),
        *similarity.internal(rows, what="", progress=quiet),
    )
    for one, other in zip(whole, cut, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_cosine_of_counts() -> None:
    assert generation.cosine(Counter(a=1, b=2), Counter(b=3, c=4)) == pytest.approx(6 / (5**0.5 * 5))
    assert generation.cosine(Counter(a=2), Counter(a=7)) == pytest.approx(1.0)
    assert generation.cosine(Counter(), Counter(a=1)) is None


def test_scaffolds_of_less_than_two_rings_do_not_count() -> None:
    assert scaffold(parsed("Cc1ccccc1")) is None
    assert scaffold(parsed("CCO")) is None
    assert scaffold(parsed("Cc1ccccc1CCc1ccccc1")) == "c1ccc(CCc2ccccc2)cc1"


def test_fragments_are_the_pieces_between_brics_bonds() -> None:
    found = describe(["CC(=O)Nc1ccccc1"], filters=False, what="", progress=quiet)
    assert found.fragments == Counter({"[1*]C(C)=O": 1, "[5*]N[5*]": 1, "[16*]c1ccccc1": 1})


def test_the_filters_refuse_alerts_charges_other_elements_and_large_rings() -> None:
    from producer.evaluation.molecules import filter_files

    files = filter_files()
    allowed = ["Cc1ccccc1C(=O)NCCO", "CC1CCN(C(=O)c2ccncc2)CC1"]
    refused = {
        "alkyl halide": "CCCl",
        "PAINS, a quinone": "O=C1C=CC(=O)C=C1",
        "charge": "CC(=O)[O-]",
        "phosphorus": "CP(C)C",
        "ring of eight": "C1CCCCCCC1",
    }
    assert all(passes(parsed(smiles), files) for smiles in allowed)
    assert not any(passes(parsed(smiles), files) for smiles in refused.values())


def test_the_frechet_distance_of_normal_distributions_with_common_axes() -> None:
    # With diagonal covariances it is |m - n|^2 + the sum of (sqrt(c) - sqrt(d))^2.
    one = Activations(np.array([0.0, 1.0]), np.diag([4.0, 9.0]))
    other = Activations(np.array([3.0, 1.0]), np.diag([1.0, 16.0]))
    assert chemnet.distance(one, other) == pytest.approx(9 + 1 + 1)
    assert chemnet.distance(one, one) == pytest.approx(0.0, abs=1e-9)


def test_the_frechet_distance_agrees_with_fcd_torchs_own_on_covariances_at_random() -> None:
    from scipy.linalg import sqrtm

    random = np.random.default_rng(5)
    tables = [random.normal(size=(50, 8)) @ random.normal(size=(8, 8)) for _ in range(2)]
    one, other = (Activations(table.mean(0), np.cov(table.T)) for table in tables)
    root = np.trace(sqrtm(one.covariance @ other.covariance).real)
    apart = one.mean - other.mean
    expected = apart @ apart + np.trace(one.covariance) + np.trace(other.covariance) - 2 * root
    assert chemnet.distance(one, other) == pytest.approx(expected)


def test_what_was_computed_of_a_reference_is_kept_until_its_content_changes(tmp_path: Path) -> None:
    file = tmp_path / "set.smi"
    cache = tmp_path / "cache"
    file.write_text("c1ccc(CCc2ccccc2)cc1\nCCO\n")
    first = reference(str(file), cache).described(quiet)
    again = reference(str(file), cache).described(pytest.fail)
    assert again.scaffolds == first.scaffolds == Counter({"c1ccc(CCc2ccccc2)cc1": 1})
    assert again.fragments == first.fragments
    np.testing.assert_array_equal(again.fingerprints, first.fingerprints)
    np.testing.assert_array_equal(again.properties["weight"], first.properties["weight"])
    file.write_text("CCO\n")
    assert reference(str(file), cache).described(quiet).scaffolds == Counter()
    assert not list(cache.glob("*.part"))


def test_a_set_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="moses:train"):
        reference("moses:training", tmp_path)
    with pytest.raises(UsageError, match="no file"):
        reference(str(tmp_path / "gone.smi"), tmp_path)
