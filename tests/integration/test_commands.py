"""The commands over a real database. Workers are simulated through the ledger; nothing else is pretended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from command_line import refused, sciqueue, submitted
from simulated_worker import answer, work_off

from schemas.database import Database
from schemas.items import Task
from schemas.ledger import corpora, progress

NOWHERE = "postgresql://sciqueue@127.0.0.1:1/sciqueue"


pytestmark = pytest.mark.usefixtures("command_settings")


# submit


def test_submit_says_what_was_loaded_and_what_to_do_next(library: Path) -> None:
    ended = sciqueue("submit", library, "--model", "fake-predict")
    assert ended.code == 0
    assert "4 rows" in ended.out
    assert "1 rejected" in ended.out
    for command in ("watch 1", "status 1", "export 1"):
        assert f"sciqueue {command}" in ended.out


def test_the_same_submission_finds_its_job_and_again_makes_another(library: Path) -> None:
    first = submitted(library, "--model", "fake-predict")
    ended = sciqueue("submit", library, "--model", "fake-predict")
    assert f"job {first} has this work already" in ended.out
    assert submitted(library, "--model", "fake-predict", "--again") == first + 1


def test_submit_reads_standard_input(database: Database) -> None:
    job = submitted("-", "--model", "fake-predict", "--name", "piped", "--format", "smi", stdin=b"CC ethane\nCCC\n")
    standing = progress.of_job(database, job)
    assert (standing.corpus, standing.total, standing.sealed) == ("piped", 2, True)


def test_parameters_are_json_where_they_can_be(database: Database) -> None:
    job = submitted("--task", "generate", "--model", "fake-generate", "--count", 3, "--param", "samples=2")
    standing = progress.of_job(database, job)
    assert standing.parameters["samples"] == 2
    assert standing.total == 6


def test_columns_and_delimiter_can_be_named(tmp_path: Path, database: Database) -> None:
    file = tmp_path / "odd.csv"
    file.write_text("structure;code\nCC;x\n")
    how = ("--smiles-column", "structure", "--id-column", "code", "--delimiter", ";")
    job = submitted(file, "--model", "fake-predict", "--name", "odd", *how)
    with database.transaction() as connection:
        item = connection.execute("SELECT i.smiles, i.custom_id FROM items i").fetchone()
    assert item == {"smiles": "CC", "custom_id": "x"}
    assert progress.of_job(database, job).total == 1


REFUSED_SUBMISSIONS: list[tuple[list[str], int, str]] = [
    (["missing.csv", "--task", "predict", "--model", "fake-predict"], 4, "missing.csv"),
    (["library.csv", "--model", "nonesuch"], 4, "nonesuch"),
    (["library.csv"], 2, "--task predict|summarize|generate"),
    (["library.csv", "--task", "summarize", "--model", "fake-predict"], 2, "fake-predict"),
    (["library.csv", "--model", "fake-predict", "--param", "samples"], 2, "KEY=VALUE"),
    (["library.csv", "--model", "fake-predict", "--param", "heat=3"], 2, "heat"),
    (["--model", "fake-predict"], 2, "source"),
    (["-", "--model", "fake-predict", "--format", "smi"], 2, "--name"),
]


def test_a_submission_that_cannot_be_made_is_refused_in_one_line(library: Path, database: Database) -> None:
    for arguments, code, said in REFUSED_SUBMISSIONS:
        given = [str(library.parent / word) if word.endswith(".csv") else word for word in arguments]
        refused(sciqueue("submit", *given), code, said)
    assert progress.of_jobs(database) == []


def test_a_word_that_is_no_option_is_a_usage_error(library: Path) -> None:
    assert sciqueue("submit", library, "--task", "fold").code == 2
    assert sciqueue("status", "three").code == 2


def test_ctrl_c_while_loading_keeps_what_is_loaded_and_the_same_command_goes_on(database: Database) -> None:
    how = ("submit", "-", "--model", "fake-predict", "--name", "piped", "--format", "smi")
    command = [sys.executable, "-m", "schemas.command", *how]
    lines = [b"C" * (place % 40 + 1) + b"\n" for place in range(15_000)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as submit:
        assert submit.stdin
        submit.stdin.write(b"".join(lines))
        submit.stdin.flush()
        while not ((found := corpora.find(database, "piped")) and found.loaded):
            assert submit.poll() is None
            time.sleep(0.1)
        submit.send_signal(signal.SIGINT)
        said = submit.communicate(timeout=20)[1].decode()
    assert submit.returncode == 130
    assert said == "broken off; what is loaded stays, and the same command goes on from there\n"
    ended = sciqueue(*how, stdin=b"".join(lines))
    assert "job 1 has this work already: 15,000 rows" in ended.out
    assert progress.of_job(database, 1).sealed


# where the database is


def test_a_database_that_is_down_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIQUEUE_DATABASE_URL", NOWHERE)
    began = time.monotonic()
    refused(sciqueue("jobs"), 5, "PostgreSQL cannot be used", "sciqueue doctor")
    assert time.monotonic() - began < 5.0


def test_without_any_servers_the_message_says_how_to_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCIQUEUE_DATABASE_URL")
    refused(sciqueue("jobs"), 5, "sciqueue up")


@pytest.mark.parametrize(("revision", "said"), [("0001", "sciqueue migrate"), ("9999", "newer sciqueue")])
def test_tables_of_another_version_are_not_touched(database_url: str, revision: str, said: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE sciqueue.alembic_version SET version_num = %s", (revision,))
    refused(sciqueue("jobs"), 3, revision, said)


def test_a_database_without_our_tables_says_so(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP SCHEMA analysis CASCADE")
        connection.execute("DROP SCHEMA sciqueue CASCADE")
    refused(sciqueue("jobs"), 3, "no tables", "sciqueue migrate")


# looking


def test_jobs_lists_them_newest_first_as_a_table_and_as_json(library: Path) -> None:
    assert "no jobs yet" in sciqueue("jobs").out
    submitted(library, "--model", "fake-predict")
    submitted("--model", "fake-generate", "--count", 3)
    table = sciqueue("jobs").out
    assert table.index("free-3") < table.index("library-")
    data = json.loads(sciqueue("jobs", "--json").out)
    assert [job["id"] for job in data] == [2, 1]
    assert data[1] | {"task": "predict", "state": "running", "total": 4, "done": 0, "outstanding": 4} == data[1]


def test_only_the_newest_jobs_are_listed_unless_all_are_asked_for(library: Path, database: Database) -> None:
    submitted(library, "--model", "fake-predict")
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO jobs (corpus_id, model_id, task, parameters, weight, batch_rows, batch_size) "
            "SELECT corpus_id, model_id, task, parameters, weight, batch_rows, batch_size "
            "FROM jobs, generate_series(2, 22)"
        )
    assert [job["id"] for job in json.loads(sciqueue("jobs", "--json").out)] == list(range(22, 2, -1))
    assert "sciqueue jobs --all" in sciqueue("jobs").out
    assert len(json.loads(sciqueue("jobs", "--all", "--json").out)) == 22


def test_status_tells_counts_reasons_and_the_first_failures(library: Path, database: Database) -> None:
    job = submitted(library, "--model", "fake-predict")
    work_off(database, Task.PREDICT, answer)
    data = json.loads(sciqueue("status", job, "--json").out)
    assert (data["state"], data["succeeded"], data["failed"], data["outstanding"]) == ("done", 2, 2, 0)
    assert data["failures"] == {"empty_smiles": 1, "invalid_smiles": 1}
    assert [(one["row"], one["custom_id"], one["error_code"]) for one in data["first_failures"]] == [
        (1, "b", "invalid_smiles"),
        (2, "c", "empty_smiles"),
    ]
    shown = sciqueue("status", job).out
    for part in ("fake-predict", "builtin", "invalid_smiles", "'bad1' is no molecule", "4 of 4"):
        assert part in shown


def test_status_names_the_workers_or_their_lack(library: Path, database: Database) -> None:
    job = submitted(library, "--model", "fake-predict")
    assert "sciqueue worker" in sciqueue("status", job).out
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO leases (worker, device, pid, queues, slots, versions, expires_at) VALUES "
            "('cuda0@lab', 'cuda:0', 1, '{sciqueue.predict}', 8, '{}', now() + interval '1 minute')"
        )
    assert "cuda0@lab (0 of 8 slots busy)" in sciqueue("status", job).out


def test_a_growing_corpus_shows_as_loading(database: Database) -> None:
    submitted("--model", "fake-generate", "--count", 3)
    with database.transaction() as connection:
        connection.execute("UPDATE corpora SET sealed_at = NULL")
    assert "loading" in sciqueue("jobs").out
    assert "still loading" in sciqueue("status", 1).out
    found = corpora.find(database, "free-3")
    assert found is not None
    assert not found.sealed


def test_models_are_listed_and_one_is_shown_with_its_endpoints() -> None:
    assert "fake-predict" in sciqueue("models").out
    known = {model["name"]: model for model in json.loads(sciqueue("models", "--json").out)}
    assert known["fake-predict"]["revision"] == "builtin"
    one = sciqueue("models", "show", "fake-predict").out
    assert "checksum" in one
    assert "1,024 rows" in one
    refused(sciqueue("models", "show", "nonesuch"), 4, "nonesuch", "fake-predict")


# changing


def test_a_job_is_paused_resumed_cancelled_and_deleted(library: Path, database: Database) -> None:
    job = submitted(library, "--model", "fake-predict")
    for command, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        assert sciqueue(command, job).code == 0
        assert progress.of_job(database, job).state == state
    assert "nothing was deleted" in sciqueue("delete", job, stdin=b"n\n").out
    assert progress.of_job(database, job).id == job
    assert sciqueue("delete", job, "--yes").code == 0
    refused(sciqueue("status", job), 4, f"no job {job}")


def test_delete_asks_and_takes_yes_for_an_answer(library: Path, database: Database) -> None:
    job = submitted(library, "--model", "fake-predict")
    work_off(database, Task.PREDICT, answer)
    ended = sciqueue("delete", job, stdin=b"y\n")
    assert "4 outcomes" in ended.out
    assert progress.of_jobs(database) == []


def test_a_job_that_does_not_exist_is_refused_in_one_line() -> None:
    for command in ("status", "pause", "resume", "cancel", "retry", "delete", "export", "watch"):
        refused(sciqueue(command, 99), 4, "no job 99", "sciqueue jobs")


def test_what_a_jobs_state_forbids_is_refused_in_one_line(library: Path, database: Database) -> None:
    job = submitted(library, "--model", "fake-predict")
    refused(sciqueue("retry", job), 7, "running")
    refused(sciqueue("delete", job, "--yes"), 7, "running")
    work_off(database, Task.PREDICT, answer)
    refused(sciqueue("cancel", job), 7, "done")


def test_retry_computes_the_failures_with_the_codes_asked_for(library: Path, database: Database) -> None:
    job = submitted(library, "--model", "fake-predict")
    work_off(database, Task.PREDICT, answer)
    refused(sciqueue("retry", job, "--code", "boredom"), 2, "boredom", "timeout")
    assert "no failures that a retry could mend" in sciqueue("retry", job, "--code", "timeout").out
    assert "1 outcomes again" in sciqueue("retry", job, "--code", "invalid_smiles", "--code", "timeout").out
    assert progress.of_job(database, job).retrying == 1
