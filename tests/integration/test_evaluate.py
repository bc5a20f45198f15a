"""`sciqueue evaluate`, a job of each task: from submission through the real tables to stored figures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from command_line import refused, sciqueue, submitted
from simulated_worker import work_off

from producer.client import Client
from producer.evaluation import store
from schemas.database import Database
from schemas.errors import RowError
from schemas.items import Item, Molecule, Paper, Task
from schemas.ledger import jobs
from schemas.outcomes import Failed, Generation, Outcome, Prediction, Summary, SummarySentence
from schemas.settings import load_settings

pytestmark = pytest.mark.usefixtures("command_settings")

MODELS = """
[tox]
task = "predict"
engine = "fake"
endpoints = [{ name = "toxic", kind = "probability" }, { name = "mass", kind = "regression" }]
trained_on = ["tox99"]
limits = { batch_rows = 64, batch_size = 100000, token_budget = 1000, max_rows = 100, max_tokens = 100 }
"""
# A ring system in each, so that there are many scaffolds; those with a nitro group are toxic.
CORES = ["c1ccccc1", "c1ccncc1", "C1CCCCC1", "C1CCNCC1", "c1ccoc1", "c1ccsc1", "C1CCOC1", "c1cncnc1", "C1CCC1", "C1CC1"]
TAILS = ["", "C", "CC", "CCC", "CCCC", "CCO", "CCN", "CC(C)C"]


def figures(ended: Any) -> dict[str, Any]:
    assert ended.code == 0, ended.err
    found: dict[str, Any] = json.loads(ended.out)
    return found


def metric(found: dict[str, Any], name: str, endpoint: str | None = None, system: str = "model") -> dict[str, Any]:
    (one,) = [
        one for one in found["metrics"] if (one["name"], one["endpoint"], one["system"]) == (name, endpoint, system)
    ]
    assert isinstance(one, dict)
    return one


# Generation


SAMPLES = ["CCO", "OCC", "c1ccc(CCc2ccccc2)cc1", "C1CC", "", "CC(=O)Nc1ccccc1", "CCCl", "slow"]


def generate(item: Item, sample: int) -> Outcome:
    smiles = SAMPLES[item.row]
    if smiles == "slow":
        return Failed(item.row, RowError.TIMEOUT, "slow", sample)
    return Generation(item.row, sample, smiles, valid=True, nll=0.1, tokens=3, seed=item.row)


@pytest.fixture
def generated(database: Database) -> int:
    job = submitted("--model", "fake-generate", "--count", len(SAMPLES))
    work_off(database, Task.GENERATE, generate)
    return job


@pytest.fixture
def sets(tmp_path: Path) -> list[object]:
    known, test = tmp_path / "known.smi", tmp_path / "held-out.csv"
    known.write_text("OCC\nCCC\n")
    test.write_text("smiles,name\nCCO,a\nc1ccc(CCc2ccccc2)cc1,b\nCC(=O)Nc1ccccc1,c\n")
    return ["--reference", known, "--test", test]


def test_generated_molecules_have_their_figures_with_denominators(generated: int, sets: list[object]) -> None:
    found = figures(sciqueue("evaluate", generated, *sets, "--no-fcd", "--json"))
    shares = {"Valid": (5, 7), "Unique@1k": (4, 5), "Unique@10k": (4, 5), "Novelty": (3, 4), "Filters": (4, 5)}
    for name, (count, n) in shares.items():
        one = metric(found, name)
        assert (one["value"], one["n"], one["better"]) == (count / n, n, "higher")
    assert metric(found, "Valid")["low"] < 5 / 7 < metric(found, "Valid")["high"]
    assert metric(found, "Scaf/held-out")["value"] == pytest.approx(1.0)
    assert 0 < metric(found, "Frag/held-out")["value"] < 1
    assert 0.8 < metric(found, "SNN/held-out")["value"] < 1
    assert metric(found, "weight distance/held-out")["better"] == "lower"
    assert found["counts"] == {"rows": 8, "failed": 1}
    assert found["parameters"]["sha256"].keys() == {str(sets[1]), str(sets[3])}


def test_the_first_samples_alone_can_be_judged(generated: int, sets: list[object]) -> None:
    found = figures(sciqueue("evaluate", generated, *sets, "--no-fcd", "--samples", 3, "--json"))
    assert metric(found, "Valid")["n"] == 3


def test_a_set_of_unknown_name_is_refused_and_nothing_is_stored(generated: int) -> None:
    refused(sciqueue("evaluate", generated, "--reference", "moses:all"), 2, "moses:train")
    assert json.loads(sciqueue("evaluate", "--list", "--json").out) == []


# Properties


def toxic(smiles: str) -> bool:
    return "O=N" in smiles


def predict(item: Item, sample: int = 0) -> Outcome:
    assert isinstance(item.content, Molecule)
    smiles = item.content.smiles
    if smiles == "bad":
        return Failed(item.row, RowError.INVALID_SMILES, "no molecule")
    return Prediction(
        item.row, smiles, "KEY", [0.9 if toxic(smiles) else 0.2, float(len(smiles))], [None] * 2, [None] * 2
    )


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    models = tmp_path / "models.toml"
    models.write_text(MODELS)
    monkeypatch.setenv("SCIQUEUE_MODELS_FILE", str(models))
    lines = ["smiles,toxic,length"]
    for core in CORES:
        for place, tail in enumerate(TAILS):
            smiles = ("O=N(=O)" if place % 2 else "") + tail + core
            label = "" if place == 5 else int(toxic(smiles))
            lines.append(f"{smiles},{label},{len(smiles) + 1}")
    lines += ["bad,1,3", "CCO,,"]
    file = tmp_path / "lab.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture
def predicted(database: Database, library: Path) -> int:
    job = submitted(library, "--model", "tox")
    work_off(database, Task.PREDICT, predict)
    return job


def test_predictions_are_judged_on_a_scaffold_split_beside_a_forest_on_the_same_rows(predicted: int) -> None:
    labels = ["--label", "toxic=toxic", "--label", "mass=length"]
    found = figures(sciqueue("evaluate", predicted, *labels, "--json"))
    assert found["counts"] == {
        "rows": 82,
        "failed": 1,
        "without a label": 1,
        "no molecule": 1,
        "not in the test part": 72,
        "tested": 8,
    }
    auc, forest = (metric(found, "ROC-AUC", "toxic", system) for system in ("model", "ECFP4 + random forest"))
    assert (auc["value"], auc["n"], auc["of"]) == (1.0, 7, "labelled molecules")  # one of eight has no label
    assert forest["n"] == 7
    assert metric(found, "Brier", "toxic")["value"] == pytest.approx((3 * 0.1**2 + 4 * 0.2**2) / 7)
    mass = metric(found, "RMSE", "mass")
    assert (mass["value"], mass["low"], mass["high"], mass["n"]) == (pytest.approx(1.0), 1.0, 1.0, 8)
    assert metric(found, "ROC-AUC", "toxic", "model minus baseline")["value"] == pytest.approx(1 - forest["value"])
    assert "tox99" in found["notices"][0]


def test_columns_named_like_endpoints_are_the_labels_unless_others_are_named(predicted: int) -> None:
    found = figures(sciqueue("evaluate", predicted, "--json"))
    assert found["parameters"]["labels"] == {"toxic": "toxic"}
    assert {one["endpoint"] for one in found["metrics"]} == {"toxic"}


def test_a_training_set_of_ones_own_is_left_out_of_the_test(predicted: int, library: Path, tmp_path: Path) -> None:
    train = tmp_path / "train.csv"
    train.write_text("\n".join(library.read_text().splitlines()[:41]) + "\n")
    found = figures(sciqueue("evaluate", predicted, "--baseline-train", train, "--json"))
    assert found["counts"]["in the training set"] == 35
    assert found["counts"]["tested"] == 35
    assert metric(found, "ROC-AUC", "toxic")["n"] == 35


def test_labels_that_are_not_there_are_answered_with_those_that_are(predicted: int) -> None:
    refused(sciqueue("evaluate", predicted, "--label", "toxic=tox"), 2, "no column 'tox'", "toxic, length")
    refused(sciqueue("evaluate", predicted, "--label", "tox=toxic"), 2, "no endpoint 'tox'", "toxic, mass")
    refused(sciqueue("evaluate", predicted, "--label", "toxic"), 2, "ENDPOINT=COLUMN")
    refused(sciqueue("evaluate", predicted, "--label", "toxic=length"), 2, "0 and 1")


def test_data_that_the_model_has_learnt_from_is_said_to_be_no_test(
    database: Database, library: Path, tmp_path: Path
) -> None:
    named = tmp_path / "Tox99-holdout.csv"
    named.write_bytes(library.read_bytes())
    job = submitted(named, "--model", "tox")
    work_off(database, Task.PREDICT, predict)
    ended = sciqueue("evaluate", job)
    assert "notice: tox was trained on tox99, which this corpus is" in ended.out
    assert "ECFP4 + random forest" in ended.out


# Summaries


PAPERS = [
    {
        "id": "p0",
        "title": "One",
        "abstract": "Enzymes bind ligands. They are fast.",
        "text": "We begin here. Then we go on. Enzymes bind ligands. The end is near.",
        "gist": "We begin here.",
    },
    {"id": "p1", "title": "Two", "abstract": "Cells grow.", "text": "Cells grow. Cells die.", "gist": ""},
    {"id": "p2", "title": "Three", "text": "Nothing is known. It is so."},
]


def summarize(item: Item, sample: int = 0) -> Outcome:
    assert isinstance(item.content, Paper)
    text = "Enzymes bind ligands." if item.content.title == "One" else "Cells grow."
    return Summary(item.row, text, (SummarySentence(text, 0, 0, 0.5),), coverage=0.5, tokens=4)


@pytest.fixture
def summarized(database: Database, tmp_path: Path) -> int:
    file = tmp_path / "papers.jsonl"
    file.write_text("".join(json.dumps(paper) + "\n" for paper in PAPERS))
    job = submitted(file, "--model", "fake-summarize")
    work_off(database, Task.SUMMARIZE, summarize)
    return job


def test_summaries_are_judged_by_the_papers_abstracts_beside_the_lead(summarized: int) -> None:
    found = figures(sciqueue("evaluate", summarized, "--json"))
    one = metric(found, "ROUGE-1")
    # 3 words of 3 and of 6: F1 is 2/3. The other summary is its abstract.
    assert (one["value"], one["n"]) == (pytest.approx((2 / 3 + 1) / 2), 2)
    # The lead has 3 of 10 words right, of 6; and 2 of 4, of 2.
    lead = metric(found, "ROUGE-1", system="lead-3")
    assert lead["value"] == pytest.approx((2 * 0.3 * 0.5 / 0.8 + 2 * 0.5 * 1 / 1.5) / 2)
    assert metric(found, "BLEU")["n"] == 2
    assert "version" in metric(found, "BLEU")["note"]
    assert metric(found, "coverage")["value"] == 0.5
    assert not [one for one in found["metrics"] if one["name"] == "support" and one["value"] is None]
    assert found["counts"] == {"rows": 3, "without a reference": 1}


def test_references_may_stand_in_a_column(summarized: int) -> None:
    found = figures(sciqueue("evaluate", summarized, "--reference", "gist", "--json"))
    assert metric(found, "ROUGE-1")["n"] == 1
    refused(sciqueue("evaluate", summarized, "--reference", "summary"), 2, "column 'summary'", "gist")


# What is common to all


def test_only_a_finished_job_can_be_judged(database: Database, library: Path) -> None:
    job = submitted(library, "--model", "tox")
    refused(sciqueue("evaluate", job), 7, "is running with 0 of 82", f"sciqueue watch {job}")
    refused(sciqueue("evaluate", 99), 4, "no job 99")
    refused(sciqueue("evaluate"), 2, "name a job")


def test_evaluations_are_stored_listed_and_outlive_their_job(summarized: int, database: Database) -> None:
    first = figures(sciqueue("evaluate", summarized, "--json"))
    second = figures(sciqueue("evaluate", summarized, "--json"))
    listed = json.loads(sciqueue("evaluate", "--list", "--json").out)
    assert [one["id"] for one in listed] == [second["id"], first["id"]]
    assert listed[0]["metrics"] == second["metrics"]
    assert "ROUGE-1 0.833" in sciqueue("evaluate", "--list").out
    assert [one.id for one in store.of_job(database, summarized)] == [second["id"], first["id"]]
    with database.transaction() as connection:
        seen = connection.execute(
            "SELECT value, n, better FROM analysis.evaluations WHERE evaluation = %s AND metric = 'ROUGE-1' "
            "AND system = 'model'",
            (first["id"],),
        ).fetchall()
    assert seen == [{"value": pytest.approx(5 / 6), "n": 2, "better": "higher"}]
    jobs.delete(database, summarized)
    assert [one["job"] for one in json.loads(sciqueue("evaluate", "--list", "--json").out)] == [None, None]


def test_models_tell_what_was_measured_of_them_last(summarized: int) -> None:
    figures(sciqueue("evaluate", summarized, "--reference", "gist", "--json"))
    last = figures(sciqueue("evaluate", summarized, "--json"))
    models = {one["name"]: one for one in json.loads(sciqueue("models", "--json").out)}
    assert models["fake-summarize"]["measured"]["id"] == last["id"]
    assert models["fake-predict"]["measured"] is None
    assert models["minilm-extractive"]["size"] > 1_000_000
    assert "ROUGE-1 0.833" in sciqueue("models", "show", "fake-summarize").out


def test_models_are_listed_without_a_database_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIQUEUE_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    models = {one["name"]: one for one in json.loads(sciqueue("models", "--json").out)}
    assert models["fake-predict"]["measured"] is None
    assert models["smiles-gpt"]["measured"]["job"] is None  # it came with the model


def test_a_plot_is_drawn_and_a_place_that_cannot_be_written_is_said(summarized: int, tmp_path: Path) -> None:
    file = tmp_path / "quality.png"
    ended = sciqueue("evaluate", summarized, "--plot", file)
    assert ended.code == 0, ended.err
    assert file.read_bytes().startswith(b"\x89PNG")
    assert len(file.read_bytes()) > 5000
    refused(sciqueue("evaluate", summarized, "--plot", tmp_path / "gone" / "quality.png"), 2, "cannot write")
    ended = sciqueue("evaluate", summarized, "--plot", tmp_path / "quality.txt")
    assert (ended.code, ended.err.startswith("sciqueue: cannot write")) == (2, True)


def test_python_gets_the_same_evaluation(database_url: str, summarized: int) -> None:
    shown = figures(sciqueue("evaluate", summarized, "--json"))
    with Client(database_url, load_settings()) as client:
        found = client.evaluate(client.job(summarized))
    assert [one.model_dump(mode="json") for one in found.metrics] == shown["metrics"]
    assert all(one.value is not None and not math.isnan(one.value) for one in found.metrics)


def test_a_worker_of_a_kind_that_fails_every_row_leaves_nothing_to_judge(database: Database) -> None:
    job = submitted("--model", "fake-generate", "--count", 2)
    work_off(database, Task.GENERATE, lambda item, sample: Failed(item.row, RowError.TIMEOUT, "slow", sample))
    refused(sciqueue("evaluate", job), 2, "every row failed")
