"""`sciqueue models bench` as a shell would see it: with its own process, and neither database nor broker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import make_smiles_checkpoint
from tests.integration.command_line import refused, sciqueue
from tests.seq2seq_checkpoint import make_t5_checkpoint

LIMITS = "limits = { batch_rows = 8, batch_size = 100_000, token_budget = 1024, max_rows = 16, max_tokens = 64 }"


def measured(*arguments: object) -> dict[str, Any]:
    ended = sciqueue("models", "bench", *arguments, "--json")
    assert ended.code == 0, ended.err
    figures: dict[str, Any] = json.loads(ended.out)
    assert figures["rows"] == figures["succeeded"] + figures["failed"]
    assert figures["failed"] == sum(one["rows"] for one in figures["failures"])
    assert all(0 <= figures[share] <= 1 for share in ("padding_waste", "fill", "busy"))
    assert figures["rows_per_second"] > 0
    assert figures["peak_memory"] > 10 * 2**20
    return figures


@pytest.fixture
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry with a small generator and a small T5, both with random weights."""
    make_smiles_checkpoint(tmp_path / "generator")
    make_t5_checkpoint(tmp_path / "t5")
    file = tmp_path / "models.toml"
    file.write_text(
        f"""
        [generator]
        task = "generate"
        engine = "causal"
        weights = {{ path = "{tmp_path / "generator"}" }}
        parameters = {{ samples = 1, temperature = 1.0, top_k = 0, top_p = 1.0, max_new_tokens = 30, seed = 0 }}
        {LIMITS}

        [t5]
        task = "summarize"
        engine = "seq2seq"
        weights = {{ path = "{tmp_path / "t5"}" }}
        parameters = {{ max_new_tokens = 8 }}
        {LIMITS}
        """
    )
    monkeypatch.setenv("SCIQUEUE_MODELS_FILE", str(file))
    return tmp_path


def write_library(path: Path, copies: int = 1) -> Path:
    """Molecules of 1 to 40 atoms, and in every copy one row that is empty and one that is too long."""
    rows = [f'"{"C" * length}",m{length}' for length in range(1, 41)] + ['"",empty', f'"{"C" * 5000}",long']
    path.write_text("smiles,id\n" + "\n".join(rows * copies) + "\n")
    return path


def test_every_row_is_a_success_or_a_failure_with_its_first_reason(tmp_path: Path) -> None:
    figures = measured("fake-predict", "--input", write_library(tmp_path / "some.csv"))
    assert (figures["succeeded"], figures["failed"]) == (40, 2)
    reasons = {one["code"]: one["first"] for one in figures["failures"]}
    assert reasons.keys() == {"empty_smiles", "too_long"}
    assert "5000 tokens" in reasons["too_long"]


def test_a_dearer_model_is_slower_and_busier(tmp_path: Path) -> None:
    library = write_library(tmp_path / "some.csv")
    free, dear = (measured("fake-predict", "--input", library, "--param", f"ns_per_token={ns}") for ns in (0, 100_000))
    assert dear["rows_per_second"] < free["rows_per_second"] / 2
    assert dear["busy"] > free["busy"]
    assert dear["device_rows_per_second"] >= dear["rows_per_second"]


def test_the_forecast_grows_with_the_corpus_of_which_rows_are_drawn(tmp_path: Path) -> None:
    library = write_library(tmp_path / "large.csv", copies=200)
    figures = measured("fake-predict", "--input", library, "--rows", 100, "--param", "ns_per_token=20000")
    assert figures["rows"] == 100
    assert figures["forecast"]["rows"] == 200 * 42
    alone = figures["forecast"]["rows"] / figures["rows_per_second"]
    assert alone / 3 < figures["forecast"]["seconds"] < alone * 3


def test_a_generators_samples_all_count(own_models: Path) -> None:
    figures = measured("generator", "--rows", 20, "--param", "samples=3")
    assert figures["rows"] == 60
    assert figures["budget"] is None
    assert 0 < figures["fill"] <= 1
    assert figures["forecast"]["rows"] == 1_000_000
    each = figures["forecast"]["seconds"] / 1_000_000
    assert each == pytest.approx(3 / figures["rows_per_second"])


def test_papers_are_measured_on_a_model_of_ones_own(own_models: Path) -> None:
    papers = own_models / "papers.jsonl"
    papers.write_text(
        "".join(
            json.dumps({"title": f"T{n}", "text": f"The enzyme binds {n} ligands. " * n}) + "\n" for n in range(1, 9)
        )
    )
    figures = measured("t5", "--input", papers)
    assert figures["rows"] == figures["succeeded"] == 8
    assert figures["load_seconds"] > 0


def test_the_table_says_what_a_user_asks_for(tmp_path: Path) -> None:
    library = write_library(tmp_path / "some.csv", copies=20)
    ended = sciqueue("models", "bench", "fake-predict", "--input", library, "--param", "ns_per_token=1000")
    assert ended.code == 0, ended.err
    for said in ("padded tokens a micro-batch", "padding", "fill", "40 failed", "too_long", "MiB", "tokens/s"):
        assert said in ended.out
    assert "some.csv (840 rows): " in ended.out
    assert "loading fake-predict on cpu" in ended.err


def test_what_cannot_be_measured_is_one_line(tmp_path: Path, own_models: Path) -> None:
    refused(sciqueue("models", "bench", "nonesuch"), 4, "nonesuch")
    refused(sciqueue("models", "bench", "fake-predict", "--device", "tpu"), 2, "tpu")
    refused(sciqueue("models", "bench", "fake-predict", "--input", tmp_path / "gone.csv"), 4, "gone.csv")
    empty = tmp_path / "empty.csv"
    empty.write_text("smiles\n")
    refused(sciqueue("models", "bench", "fake-predict", "--input", empty), 2, "no rows")
    (own_models / "generator" / "model.safetensors").write_bytes(b"broken")
    ended = sciqueue("models", "bench", "generator")
    assert ended.code == 8
    assert ended.err.splitlines()[-1].startswith("sciqueue: ")


def test_a_model_that_kills_its_process_is_told(tmp_path: Path) -> None:
    library = write_library(tmp_path / "some.csv")
    ended = sciqueue("models", "bench", "fake-predict", "--input", library, "--param", "crash=CCC")
    assert ended.code == 8
    assert "ended with status 86" in ended.err
