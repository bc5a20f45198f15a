"""Generation with a checkpoint of the lab's own, named in its own registry: of so many rows, or to a target."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.lab import SCIQUEUE, Lab, lab, until
from tests.checkpoints import make_smiles_checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose default model of the task is a small random checkpoint."""
    folder = tmp_path_factory.mktemp("lab")
    make_smiles_checkpoint(folder / "weights", seed=3)
    registry = folder / "models.toml"
    registry.write_text(
        f"""
[own-smiles]
task = "generate"
engine = "causal"
default = true
weights = {{ path = "{folder / "weights"}" }}
parameters = {{ samples = 1, temperature = 1.0, top_k = 0, top_p = 1.0, max_new_tokens = 32, seed = 0 }}
limits = {{ batch_rows = 32, batch_size = 100000, token_budget = 8192, max_rows = 256, max_tokens = 256 }}
"""
    )
    with lab(models_file=str(registry)) as site:
        yield site


def test_a_labs_own_causal_checkpoint_generates_and_every_sample_is_an_outcome(tmp_path: Path, site: Lab) -> None:
    prompts = tmp_path / "prompts.smi"
    prompts.write_text("C p1\nc1ccccc1 p2\nN p3\n")
    first, again, prompted = (
        json.loads(site.command("submit", *call, "--task", "generate", "--json").stdout)["job"]
        for call in (
            ["--count", "50", "--param", "samples=2"],
            ["--count", "50", "--param", "samples=2", "--again"],
            [str(prompts), "--param", "samples=4"],
        )
    )
    for job, outcomes in ((first, 100), (again, 100), (prompted, 12)):
        standing = site.wait(job, 240.0)
        assert (standing.succeeded, standing.failed, standing.total) == (outcomes, 0, outcomes)
    free = site.query("SELECT row, sample, smiles, nll, seed FROM analysis.generations WHERE job_id = %s", first)
    assert len({row["smiles"] for row in free}) > 50  # the outputs vary, so equality below says something
    same = site.query("SELECT row, sample, smiles FROM analysis.generations WHERE job_id = %s", again)
    by_key = {(row["row"], row["sample"]): row["smiles"] for row in free}
    assert {(row["row"], row["sample"]): row["smiles"] for row in same} == by_key
    starts = site.query("SELECT prompt, smiles FROM analysis.generations WHERE job_id = %s", prompted)
    assert all(row["smiles"].startswith(row["prompt"]) for row in starts)


FIRSTS = """
SELECT canonical FROM (SELECT DISTINCT ON (canonical) canonical, row FROM analysis.generations
                       WHERE job_id = %s AND valid ORDER BY canonical, row) firsts
WHERE canonical <> ALL(%s) ORDER BY row
"""


def broken_off(site: Lab, call: list[str], how: signal.Signals) -> int:
    """Run a command until it has begun a round and some samples of that are there, end it, and return its exit code."""
    command = subprocess.Popen([*SCIQUEUE, *call], env=site.environment, stderr=subprocess.PIPE, text=True)
    assert command.stderr is not None
    assert any("drawing" in line for line in command.stderr)
    outcomes = "SELECT count(*) AS n FROM sciqueue.generations"
    before = site.query(outcomes)[0]["n"]
    until(lambda: site.query(outcomes)[0]["n"] > before, 120.0)
    command.send_signal(how)
    command.communicate(timeout=30)
    return command.returncode


@pytest.mark.timeout(600)
def test_a_target_is_reached_though_the_command_is_killed_and_draws_no_sample_twice(tmp_path: Path, site: Lab) -> None:
    reference = tmp_path / "train.smi"
    reference.write_text("C\nCC\nOC\nCCC\nN\n")
    known = ["C", "CC", "CO", "CCC", "N"]
    call = ["generate", "--target", "120", "--novel-to", str(reference), "--json"]
    out = tmp_path / "new.csv"
    assert broken_off(site, call, signal.SIGKILL) == -signal.SIGKILL
    assert broken_off(site, call, signal.SIGINT) == 130
    report = json.loads(site.command(*call, "-o", str(out)).stdout)
    assert report["reached"]

    # As many rows of an ordinary job with the same parameters are the same samples.
    count = ["--count", str(report["drawn"]), "--task", "generate", "--json"]
    whole = json.loads(site.command("submit", *count).stdout)["job"]
    site.wait(whole, 240.0)
    samples = "SELECT row, sample, smiles, seed FROM analysis.generations WHERE job_id = %s ORDER BY row"
    assert site.query(samples, report["job"]) == site.query(samples, whole)
    expected = [row["canonical"] for row in site.query(FIRSTS, whole, known)][:120]
    with out.open(newline="") as lines:
        kept = list(csv.DictReader(lines))
    assert [row["canonical"] for row in kept] == expected
    assert len(set(expected)) == 120
    assert int(kept[-1]["row"]) + 1 == report["rows"] <= report["drawn"] < report["rows"] + 150

    (counted,) = site.query(
        "SELECT count(*) AS sampled, count(*) FILTER (WHERE valid) AS valid, count(DISTINCT canonical) AS unique "
        "FROM analysis.generations WHERE job_id = %s AND row < %s",
        whole,
        report["rows"],
    )
    assert (report["Valid"]["count"], report["Valid"]["of"]) == (counted["valid"], counted["sampled"])
    unique = report[f"Unique@{counted['valid']}"]
    assert (unique["count"], unique["of"]) == (counted["unique"], counted["valid"])
    assert (report["Novelty"]["count"], report["Novelty"]["of"]) == (120, counted["unique"])
    assert (report["Kept"]["count"], report["Kept"]["of"]) == (120, counted["sampled"])

    short = site.command("generate", "--model", "fake-generate", "--target", "9", "--budget", "200", check=False)
    assert short.returncode == 9
    assert "8 of 9: the budget of 200 samples is spent; 192 repeat one" in short.stdout


def test_samples_begin_with_their_prompt_whatever_kind_it_is(tmp_path: Path, site: Lab) -> None:
    # Nothing but the start token; a whole scaffold; a fragment that goes on; one with a ring and a branch left open.
    prompts = ["", "c1ccccc1", "CC(=O)N", "C1CC(=O"]
    out = tmp_path / "new.jsonl"
    asked = [word for prompt in prompts for word in ("--prompt", prompt)]
    told = site.command("generate", "--target", "60", "--budget", "6000", *asked, "-o", str(out), "--json").stdout
    job = json.loads(told)["job"]
    samples = site.query("SELECT row, prompt, smiles FROM analysis.generations WHERE job_id = %s ORDER BY row", job)
    assert all(row["prompt"] == prompts[row["row"] % 4] for row in samples)
    assert all(row["smiles"].startswith(row["prompt"]) for row in samples)
    assert len({row["smiles"] for row in samples if row["prompt"] == prompts[3]}) > 5
    kept = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(kept) == len({row["canonical"] for row in kept}) == 60
    assert {row["prompt"] for row in kept} >= set(prompts[:3])
