"""Generation to a target on real PostgreSQL: what is kept, what is drawn, and what a second call goes on with."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import pyarrow.parquet as pq
import pytest
from command_line import refused, sciqueue
from simulated_worker import work_off

from producer.client import Client
from producer.generating import Generated
from producer.yields import Yield
from schemas.database import Database
from schemas.errors import Conflict, NotFound, RowError, UsageError
from schemas.items import Item, Prompt, Task
from schemas.ledger import jobs
from schemas.ledger.progress import of_job
from schemas.outcomes import Failed, Generation, Outcome
from schemas.settings import Settings
from schemas.states import JobState

pytestmark = pytest.mark.usefixtures("command_settings")

MODEL = "fake-generate"
# The query that the README gives to users of SQL.
KEPT = """
SELECT * FROM (SELECT DISTINCT ON (canonical) * FROM analysis.generations
               WHERE job_id = %s AND valid ORDER BY canonical, row) firsts
ORDER BY row LIMIT %s
"""


def sample(item: Item, number: int) -> Outcome:
    """A sample by its row alone: of 60 molecules, with a seventh of all rows invalid and every eleventh failed."""
    assert isinstance(item.content, Prompt)
    row = item.row
    if row % 11 == 10:
        return Failed(row, RowError.TIMEOUT, "slow", number)
    smiles = item.content.smiles + "C" * (crc32(str(row).encode()) % 60 + 1)
    valid = row % 7 != 3
    return Generation(row, number, smiles, valid, 1.0, 3, 1000 + row, canonical=smiles if valid else None)


def all_fail(item: Item, number: int) -> Outcome:
    return Failed(item.row, RowError.UNSUPPORTED, "not this", number)


@contextmanager
def working(database_url: str, answer: Callable[[Item, int], Outcome] = sample) -> Iterator[None]:
    """A worker and a dispatcher at work beside the block."""
    stop = threading.Event()

    def work() -> None:
        with Database(database_url) as database:
            while not stop.is_set():
                work_off(database, Task.GENERATE, answer)
                stop.wait(0.02)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        stop.set()
        worker.join()


@pytest.fixture
def client(database_url: str, tmp_path: Path) -> Iterator[Client]:
    with Client(database_url, Settings(home=tmp_path / "home")) as client:
        yield client


@pytest.fixture
def worker(database_url: str) -> Iterator[None]:
    with working(database_url):
        yield


def smiles_of(found: Generated) -> list[str]:
    return [row["smiles"] for row in found.rows()]


def query(database: Database, text: str, *parameters: Any) -> list[dict[str, Any]]:
    with database.transaction() as connection:
        return connection.execute(text.encode(), parameters).fetchall()


def drawn_of(database: Database) -> dict[int, int]:
    """Outcomes of each job; a second one for a row would break the table's key."""
    return {
        one["job_id"]: one["n"] for one in query(database, "SELECT job_id, count(*) AS n FROM generations GROUP BY 1")
    }


class Broken(Exception):
    """The caller ends between two rounds."""


def breaking(after: int) -> Callable[[Yield, int, int], None]:
    rounds = iter(range(after))

    def on_round(found: Yield, drawn: int, more: int) -> None:
        if next(rounds, None) is None:
            raise Broken

    return on_round


@pytest.mark.usefixtures("worker")
def test_the_first_samples_that_bring_a_valid_new_molecule_are_kept(client: Client, database: Database) -> None:
    found = client.generate(40, model=MODEL)
    rows = query(database, "SELECT * FROM analysis.generations WHERE job_id = %s ORDER BY row", found.job)
    expected: dict[str, int] = {}
    for row in rows:
        if row["valid"]:
            expected.setdefault(row["canonical"], row["row"])
    assert smiles_of(found) == list(expected)[:40]
    assert [row["row"] for row in found.rows()] == list(expected.values())[:40]
    assert [row["smiles"] for row in query(database, KEPT, found.job, 40)] == smiles_of(found)
    assert (len(found), found.shortfall) == (40, None)
    assert found.frame()["canonical"].is_unique
    assert client.job(found.job).progress().state is JobState.DONE


@pytest.mark.usefixtures("worker")
def test_both_denominators_are_those_that_sql_counts(client: Client, database: Database) -> None:
    report = client.generate(50, novel_to=["CC", "CCCC", "C" * 9], model=MODEL).report()
    (counted,) = query(
        database,
        "WITH seen AS (SELECT * FROM sciqueue.generations WHERE job_id = %s AND row < %s) SELECT "
        "count(*) FILTER (WHERE error_code IS NULL) AS sampled, count(error_code) AS failed, "
        "count(*) FILTER (WHERE valid) AS valid, count(DISTINCT canonical) AS unique, "
        "count(DISTINCT canonical) FILTER (WHERE canonical NOT IN ('CC', 'CCCC', 'CCCCCCCCC')) AS novel FROM seen",
        report["job"],
        report["rows"],
    )
    assert (report["sampled"], report["failed"]) == (counted["sampled"], counted["failed"])
    assert report["Valid"] == {
        "share": counted["valid"] / counted["sampled"],
        "count": counted["valid"],
        "of": counted["sampled"],
        "of_what": "samples",
    }
    unique = report[f"Unique@{counted['valid']}"]
    assert (unique["count"], unique["of"]) == (counted["unique"], counted["valid"])
    assert (report["Novelty"]["count"], report["Novelty"]["of"]) == (counted["novel"], counted["unique"])
    assert (report["Kept"]["count"], report["Kept"]["of"]) == (50, counted["sampled"])
    assert 0 < counted["novel"] < counted["unique"] < counted["valid"] < counted["sampled"]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("rounds", [0, 1, 2, 3])
def test_a_call_that_breaks_off_between_rounds_is_continued(client: Client, database: Database, rounds: int) -> None:
    whole = client.generate(55, model=MODEL, seed=1)  # the simulated samples depend on the row alone
    with pytest.raises(Broken):
        client.generate(55, model=MODEL, seed=2, on_round=breaking(rounds))
    again = client.generate(55, model=MODEL, seed=2)
    assert again.job != whole.job
    assert smiles_of(again) == smiles_of(whole)
    ours, other = again.report(), whole.report()
    assert {**ours, "job": 0} == {**other, "job": 0}
    drawn = drawn_of(database)
    assert drawn[again.job] == drawn[whole.job] == ours["drawn"]


@pytest.mark.usefixtures("worker")
def test_a_larger_target_goes_on_and_a_smaller_one_is_answered_from_what_is_there(
    client: Client, database: Database
) -> None:
    first = client.generate(20, model=MODEL)
    few = drawn_of(database)[first.job]
    larger = client.generate(50, model=MODEL)
    many = drawn_of(database)
    assert larger.job == first.job
    assert smiles_of(larger)[:20] == smiles_of(first)
    assert few < many[first.job] == larger.report()["drawn"]
    smaller = client.generate(20, novel_to=smiles_of(first)[:5], model=MODEL)
    assert smiles_of(smaller) == smiles_of(larger)[5:25]
    assert drawn_of(database) == many
    assert client.job(larger.job).progress().state is JobState.DONE


@pytest.mark.usefixtures("worker")
def test_the_budget_ends_what_cannot_be_reached_and_says_why(client: Client, database: Database) -> None:
    found = client.generate(61, budget=300, model=MODEL)  # there are 60 molecules
    assert drawn_of(database) == {found.job: 300}
    report = found.report()
    assert (report["reached"], report["drawn"], report["rows"]) == (False, 300, 300)
    assert found.shortfall is not None
    assert found.shortfall.startswith(f"{len(found)} of 61: the budget of 300 samples is spent; ")
    assert f"{report['failed']} failed" in found.shortfall
    assert f"({report['failed']} timeout)" in found.shortfall
    assert "repeat one" in found.shortfall
    assert client.job(found.job).progress().state is JobState.DONE
    beyond = client.generate(61, budget=400, model=MODEL)
    assert (beyond.job, drawn_of(database)) == (found.job, {found.job: 400})


def test_samples_that_all_fail_end_it_long_before_the_budget(
    client: Client, database: Database, database_url: str
) -> None:
    with working(database_url, all_fail):
        found = client.generate(10, budget=10_000, model=MODEL)
    assert drawn_of(database) == {found.job: 10}
    assert found.shortfall == "0 of 10: every one of 10 samples failed; 10 failed (10 unsupported_input)"
    assert found.report()["Valid"]["share"] is None


@pytest.mark.usefixtures("worker")
def test_prompts_take_turns_and_make_a_stream_of_their_own(client: Client) -> None:
    free = client.generate(6, model=MODEL)
    prompted = client.generate(12, model=MODEL, prompts=["N", "", ("third", "O")])
    assert prompted.job != free.job
    by_row = {row["row"]: (row["prompt"], row["custom_id"]) for row in prompted.rows()}
    turns = [("N", None), ("", None), ("O", "third")]
    assert all(given == turns[row % 3] for row, given in by_row.items())
    assert set(by_row.values()) == set(turns)
    assert client.generate(12, model=MODEL, prompts=["N", "", ("third", "O")]).job == prompted.job


@pytest.mark.usefixtures("worker")
def test_two_callers_of_one_stream_draw_it_once_and_get_the_same(database_url: str, tmp_path: Path) -> None:
    def call(target: int) -> tuple[list[str], int]:
        with Client(database_url, Settings(home=tmp_path)) as client:
            found = client.generate(target, model=MODEL)
            return smiles_of(found), found.job

    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(call, [54, 30, 54, 12]))
    longest = answers[0][0]
    assert len(longest) == 54
    assert [found for found, _ in answers] == [longest[:count] for count in (54, 30, 54, 12)]
    assert len({job for _, job in answers}) == 1


def test_a_cancelled_job_is_said_and_the_next_call_computes_the_same_rows(
    client: Client, database: Database, database_url: str
) -> None:
    def cancel(so_far: Yield, drawn: int, more: int) -> None:
        if drawn:
            jobs.cancel(database, client.jobs()[0].id)

    with working(database_url):
        with pytest.raises(Conflict, match="cancelled"):
            client.generate(55, model=MODEL, on_round=cancel)
        (cancelled,) = client.jobs()
        again = client.generate(55, model=MODEL)
        assert again.job != cancelled.id
        assert smiles_of(again) == smiles_of(client.generate(55, model=MODEL, seed=9))


def test_a_fault_that_pauses_the_job_is_said_and_the_same_call_goes_on(
    client: Client, database: Database, database_url: str
) -> None:
    def pause(so_far: Yield, drawn: int, more: int) -> None:
        jobs.pause(database, client.jobs()[0].id, "the weights are missing")

    with pytest.raises(Conflict, match="paused: the weights are missing; mend it, 'sciqueue resume 1'"):
        client.generate(5, model=MODEL, on_round=pause)
    jobs.resume(database, 1)
    with working(database_url):
        assert len(client.generate(5, model=MODEL)) == 5


@pytest.mark.parametrize(
    ("given", "fault", "says"),
    [
        ({"target": 0}, UsageError, "target 0"),
        ({"target": 10, "budget": 9}, UsageError, "target 10, budget 9"),
        ({"target": 1, "samples": 2}, UsageError, "leave samples out"),
        ({"target": 1, "colour": 2}, UsageError, "no parameter 'colour'"),
        ({"target": 1, "model": "fake-predict"}, UsageError, "for the task predict"),
        ({"target": 1, "model": "none-such"}, NotFound, "none-such"),
        ({"target": 1, "prompts": ["CC C"]}, UsageError, "prompt 'CC C': the SMILES is followed by further text"),
        ({"target": 1, "prompts": "CC"}, UsageError, "put it in a list"),
        ({"target": 1, "novel_to": "absent.smi"}, NotFound, "absent.smi"),
        ({"target": 1, "priority": "urgent"}, UsageError, "no priority"),
    ],
)
def test_what_cannot_be_generated_is_refused_and_leaves_nothing_behind(
    client: Client, database: Database, given: dict[str, Any], fault: type[Exception], says: str
) -> None:
    with pytest.raises(fault, match=says):
        client.generate(**{"model": MODEL, **given})
    (left,) = query(database, "SELECT (SELECT count(*) FROM corpora) + (SELECT count(*) FROM jobs) AS n")
    assert left["n"] == 0


@pytest.mark.usefixtures("worker")
def test_other_rows_under_the_streams_name_are_not_taken_for_its_own(client: Client, database: Database) -> None:
    found = client.generate(5, model=MODEL)
    name = client.job(found.job).progress().corpus
    jobs.delete(database, found.job)
    client.submit(["N"], task="generate", model=MODEL, name=name, seed=3).wait(timeout=10)
    with pytest.raises(Conflict, match="corpus"):
        client.generate(5, model=MODEL)


@pytest.mark.usefixtures("worker")
def test_the_command_tells_each_share_with_its_denominator_and_writes_what_was_kept(tmp_path: Path) -> None:
    reference = tmp_path / "train.smi"
    reference.write_text("CC\nCCCC\nno-smiles\n")
    out = tmp_path / "new.csv"
    call = ("generate", "--model", MODEL, "--target", 30, "--novel-to", reference)
    ended = sciqueue(*call, "-o", out)
    assert ended.code == 0, ended.err
    told = json.loads(sciqueue(*call, "--json").out)
    for name in ("Valid", f"Unique@{told['Valid']['count']}", "Novelty", "Kept"):
        assert f"{told[name]['count']} of {told[name]['of']} {told[name]['of_what']}" in ended.out
    assert "novel to 2 molecules, 1 rows of them unreadable" in ended.out
    assert "30 molecules are in" in ended.out
    assert "drawing 30\n" in ended.err
    assert " of 30 from 30 samples; drawing " in ended.err
    with out.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len({row["canonical"] for row in rows} - {"CC", "CCCC"}) == 30
    assert {"smiles", "canonical", "inchikey", "valid", "nll", "qed", "sa", "logp", "mw", "tpsa"} < set(rows[0])
    assert {"scaffold", "alerts", "seed", "row"} < set(rows[0])
    for ending in ("parquet", "jsonl", "smi"):
        assert sciqueue(*call, "-o", tmp_path / f"new.{ending}").code == 0
    assert pq.read_table(tmp_path / "new.parquet")["canonical"].to_pylist() == [row["canonical"] for row in rows]
    named = [line.split("\t") for line in (tmp_path / "new.smi").read_text().splitlines()]
    assert named == [[row["canonical"], f"{told['job']}-{row['row']}"] for row in rows]
    assert json.loads((tmp_path / "new.jsonl").read_text().splitlines()[0])["seed"] == int(rows[0]["seed"])


@pytest.mark.usefixtures("worker")
def test_the_command_ends_with_nine_where_the_budget_did_not_suffice(tmp_path: Path) -> None:
    out = tmp_path / "new.smi"
    ended = sciqueue("generate", "--model", MODEL, "--target", 61, "--budget", 130, "-o", out)
    assert ended.code == 9
    assert "target not reached: " in ended.out
    assert "the budget of 130 samples is spent" in ended.out
    kept = len(out.read_text().splitlines())
    assert f"{kept} molecules are in" in ended.out
    assert 0 < kept < 61


def test_the_command_refuses_before_it_begins_what_it_could_not_write(tmp_path: Path, database: Database) -> None:
    call = ("generate", "--model", MODEL, "--target", 3, "-o")
    refused(sciqueue(*call, tmp_path / "new.xlsx"), 2, "ending")
    refused(sciqueue(*call, tmp_path / "absent" / "new.csv"), 2, "no folder")
    (tmp_path / "prompts.smi").write_text("\n")
    refused(sciqueue(*call, tmp_path / "a.csv", "--prompts", tmp_path / "prompts.smi"), 2, "holds no prompt")
    assert query(database, "SELECT id FROM jobs") == []


def test_reopened_jobs_count_on(client: Client, database: Database, database_url: str) -> None:
    with working(database_url):
        job = client.generate(5, model=MODEL).job
        before = of_job(database, job)
        client.generate(20, model=MODEL)
        after = of_job(database, job)
    assert after.total == after.done > before.total == before.done
