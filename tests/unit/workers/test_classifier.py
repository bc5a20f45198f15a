import pickle
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from schemas.errors import ModelUnavailable, RowError, UsageError
from schemas.items import Content, Item, Molecule, Prompt, Rejected
from schemas.outcomes import Failed, Prediction
from tests.classifier_checkpoint import LABELS, classifier_entry, drugs, make_classifier_checkpoint, word_level
from workers.engines.classifier import ClassifierEngine, load
from workers.engines.contract import Prepared

ROWS = 200
PROBLEMS = {
    "multi_label_classification": "probability",
    "single_label_classification": "probability",
    "regression": "regression",
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_classifier_checkpoint(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> ClassifierEngine:
    torch.set_num_threads(1)
    return load(classifier_entry(checkpoint), "cpu")


def made(engine: ClassifierEngine, content: Content, **parameters: Any) -> Prepared | Failed:
    (unit,) = engine.cpu.prepare(Item(7, content), parameters)
    assert unit.row == 7
    return unit


def failure(engine: ClassifierEngine, content: Content) -> RowError:
    unit = made(engine, content)
    assert isinstance(unit, Failed)
    assert unit.message
    return unit.code


def prepared(engine: ClassifierEngine, count: int = ROWS) -> list[Prepared]:
    units = [
        engine.cpu.prepare(Item(row, Molecule(smiles)), {"standardize": "none"})[0]
        for row, smiles in enumerate(drugs(count + 50))
    ]
    return [unit for unit in units if isinstance(unit, Prepared)][:count]


def values(engine: ClassifierEngine, units: list[Prepared]) -> torch.Tensor:
    outcomes = engine.run(units)
    assert [outcome.row for outcome in outcomes] == [unit.row for unit in units]
    return torch.tensor([outcome.values for outcome in outcomes])


@pytest.fixture(scope="module")
def units(engine: ClassifierEngine) -> list[Prepared]:
    units = prepared(engine)
    assert len(units) == ROWS
    return units


@pytest.fixture(scope="module")
def together(engine: ClassifierEngine, units: list[Prepared]) -> torch.Tensor:
    return values(engine, units)


def logits(folder: Path, smiles: list[str]) -> torch.Tensor:
    """What transformers computes, one molecule at a time."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        return torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in smiles])


def test_molecules_differ_in_every_endpoint(together: torch.Tensor) -> None:
    assert (together.std(dim=0) > 0.05).all()
    assert ((together > 0.01) & (together < 0.99)).float().mean() > 0.5


@pytest.mark.parametrize("size", [1, 7, 50])
def test_a_value_does_not_depend_on_what_shares_its_batch(
    engine: ClassifierEngine, units: list[Prepared], together: torch.Tensor, size: int
) -> None:
    order = Random(size).sample(range(ROWS), ROWS)
    for start in range(0, ROWS, size):
        part = order[start : start + size]
        found = values(engine, [units[at] for at in part])
        torch.testing.assert_close(found, together[part], atol=1e-4, rtol=0)


@pytest.mark.parametrize("tokens", [1, 4096])
def test_values_do_not_depend_on_the_size_of_a_pass(
    checkpoint: Path, units: list[Prepared], together: torch.Tensor, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.engines.classifier.PASS_TOKENS", {"cpu": tokens})
    torch.testing.assert_close(values(load(classifier_entry(checkpoint), "cpu"), units), together, atol=1e-4, rtol=0)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_logits_are_read_as_the_checkpoint_says(tmp_path: Path, problem: str) -> None:
    folder = make_classifier_checkpoint(tmp_path, problem=problem)
    engine = load(classifier_entry(folder, kind=PROBLEMS[problem]), "cpu")
    units = prepared(engine, 30)
    raw = logits(folder, [unit.data.smiles for unit in units])
    expected = {
        "multi_label_classification": torch.sigmoid(raw),
        "single_label_classification": torch.softmax(raw, dim=1),
        "regression": raw,
    }[problem]
    torch.testing.assert_close(values(engine, units), expected, atol=1e-4, rtol=0)


def test_a_prediction_names_the_molecule_and_has_neither_spread_nor_rank(engine: ClassifierEngine) -> None:
    unit = made(engine, Molecule("C(C)O.Cl"))
    assert isinstance(unit, Prepared)
    (found,) = engine.run([unit])
    assert isinstance(found, Prediction)
    assert (found.row, found.standardized, found.inchikey) == (7, "CCO", "LFQSCWFLJHTTHZ-UHFFFAOYSA-N")
    assert list(found.spread) == list(found.percentile) == [None] * 3


def test_a_value_that_is_not_finite_is_none(tmp_path: Path) -> None:
    engine = load(
        classifier_entry(make_classifier_checkpoint(tmp_path, problem="regression"), kind="regression"), "cpu"
    )
    with torch.no_grad():
        engine._models[0].classifier.out_proj.bias[1] = float("nan")
    (found,) = engine.run(prepared(engine, 1))
    assert [value is None for value in found.values] == [False, True, False]


def test_endpoints_are_found_by_name_in_the_registrys_order(
    checkpoint: Path, units: list[Prepared], together: torch.Tensor
) -> None:
    turned = load(classifier_entry(checkpoint, names=LABELS[::-1]), "cpu")
    torch.testing.assert_close(values(turned, units), together.flip(1), atol=1e-6, rtol=0)


def test_labels_without_names_are_the_endpoints_as_they_stand(
    tmp_path: Path, units: list[Prepared], together: torch.Tensor
) -> None:
    unnamed = make_classifier_checkpoint(tmp_path, labels=("LABEL_0", "LABEL_1", "LABEL_2"))
    found = values(load(classifier_entry(unnamed, names=("a", "b", "c")), "cpu"), units)
    torch.testing.assert_close(found, together, atol=1e-6, rtol=0)


def test_bf16_stays_close(checkpoint: Path, units: list[Prepared], together: torch.Tensor) -> None:
    coarse = values(load(classifier_entry(checkpoint, precision="bf16"), "cpu"), units)
    assert not torch.equal(coarse, together)
    for column in range(len(LABELS)):
        ranks = torch.stack([part[:, column].argsort().argsort().double() for part in (coarse, together)])
        assert torch.corrcoef(ranks)[0, 1] > 0.99


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"names": LABELS[:2]}, "2 endpoints, the model has 3 labels"),
        ({"names": (*LABELS[:2], "other")}, "SR-p53, other"),
        ({"kind": "regression"}, "is of kind 'probability'"),
        ({"kind": "descriptor"}, "is of kind 'probability'"),
    ],
)
def test_endpoints_that_are_not_the_models_are_refused(checkpoint: Path, entry: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelUnavailable, match=reason):
        load(classifier_entry(checkpoint, **entry), "cpu")


def test_a_model_that_does_not_say_how_to_read_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="problem_type None"):
        load(classifier_entry(make_classifier_checkpoint(tmp_path, problem=None)), "cpu")


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    one = make_classifier_checkpoint(tmp_path, labels=("toxic",), problem="regression")
    config = one / "config.json"
    config.write_text(config.read_text().replace('"regression"', '"single_label_classification"'))
    with pytest.raises(ModelUnavailable, match="num_labels"):  # it would always have probability 1
        load(classifier_entry(one, names=("toxic",)), "cpu")


@pytest.mark.parametrize("architecture", ["RobertaForMaskedLM", "RobertaModel"])
def test_a_head_that_would_be_drawn_at_random_is_refused(tmp_path: Path, architecture: str) -> None:
    folder = make_classifier_checkpoint(tmp_path, architecture=architecture)
    with pytest.raises(ModelUnavailable, match=r"lacks 4 of the model's weights, such as classifier\."):
        load(classifier_entry(folder), "cpu")


def test_a_model_that_reads_padding_is_refused(tmp_path: Path) -> None:
    folder = make_classifier_checkpoint(
        tmp_path, architecture="XLNetForSequenceClassification", max_position_embeddings=None, d_head=16
    )
    with pytest.raises(ModelUnavailable, match="padding moves its values"):
        load(classifier_entry(folder), "cpu")


def test_a_decoder_with_a_head_is_read_at_its_last_token(tmp_path: Path) -> None:
    folder = make_classifier_checkpoint(tmp_path, architecture="GPT2ForSequenceClassification", n_positions=512)
    engine = load(classifier_entry(folder), "cpu")
    units = prepared(engine, 30)
    expected = torch.sigmoid(logits(folder, [unit.data.smiles for unit in units]))
    torch.testing.assert_close(values(engine, units), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("limits", "positions", "most"), [(4096, 42, 40), (30, 42, 30)], ids=["the model's positions", "the entry's limit"]
)
def test_a_text_may_be_as_long_as_the_model(tmp_path: Path, limits: int, positions: int, most: int) -> None:
    folder = make_classifier_checkpoint(tmp_path, tokenizer=word_level(), max_position_embeddings=positions)
    entry = classifier_entry(folder)
    engine = load(entry.model_copy(update={"limits": entry.limits.model_copy(update={"max_tokens": limits})}), "cpu")
    longest = made(engine, Molecule("C" * (most - 2)))
    assert isinstance(longest, Prepared)
    assert longest.tokens == most
    assert engine.run([longest])[0].values[0] is not None
    assert failure(engine, Molecule("C" * (most - 1))) is RowError.TOO_LONG


def test_a_molecule_that_its_tokens_do_not_give_back_is_unsupported(tmp_path: Path) -> None:
    engine = load(classifier_entry(make_classifier_checkpoint(tmp_path, tokenizer=word_level())), "cpu")
    assert isinstance(made(engine, Molecule("ClCCBr")), Prepared)
    assert failure(engine, Molecule("C[Si](C)(C)C")) is RowError.UNSUPPORTED  # an unknown token


def test_a_tokenizer_that_takes_chlorine_for_carbon_is_found_out(tmp_path: Path) -> None:
    lossy = word_level(r"[CNOcno()=#123]")  # drops the l of Cl
    engine = load(classifier_entry(make_classifier_checkpoint(tmp_path, tokenizer=lossy)), "cpu")
    assert isinstance(made(engine, Molecule("CCO")), Prepared)
    assert failure(engine, Molecule("CCCl")) is RowError.UNSUPPORTED


def test_bad_rows_fail_with_their_reason(engine: ClassifierEngine) -> None:
    assert failure(engine, Molecule("C1CC(")) is RowError.INVALID_SMILES
    assert failure(engine, Prompt("CC")) is RowError.UNSUPPORTED
    assert made(engine, Rejected(RowError.NUL_BYTE, "a NUL")) == Failed(7, RowError.NUL_BYTE, "a NUL")


@pytest.mark.parametrize("parameters", [{"standardise": "none"}, {"standardize": "salts"}, {"tautomers": "perhaps"}])
def test_wrong_parameters_are_a_fault_of_the_job(engine: ClassifierEngine, parameters: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        made(engine, Molecule("CC"), **parameters)


def test_preparing_works_the_same_in_another_process(engine: ClassifierEngine) -> None:
    copy = pickle.loads(pickle.dumps(engine.cpu))
    item = Item(1, Molecule("CC(=O)Oc1ccccc1C(=O)O"))
    assert copy.prepare(item, {}) == engine.cpu.prepare(item, {})
