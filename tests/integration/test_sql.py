"""`sciqueue sql` reads, and only reads."""

from __future__ import annotations

import json

import pytest
from command_line import refused, sciqueue

from schemas.database import Database

pytestmark = pytest.mark.usefixtures("command_settings")


def test_a_select_over_a_view_is_answered() -> None:
    told = sciqueue("sql", "SELECT count(*) AS jobs FROM analysis.jobs", "--json")
    assert json.loads(told.out) == [{"jobs": 0}]


@pytest.mark.parametrize(
    "query",
    [
        "CREATE TABLE public.mine (i int)",
        "COMMIT; CREATE TABLE public.mine (i int)",
        "SET TRANSACTION READ WRITE; CREATE TABLE public.mine (i int); COMMIT",
        "SELECT * FROM sciqueue.jobs",
        "SELECT AMES FROM nowhere",
    ],
)
def test_whatever_else_is_refused_in_one_line(query: str, database: Database) -> None:
    refused(sciqueue("sql", query), 2)
    with database.transaction() as connection:
        assert connection.execute("SELECT to_regclass('public.mine') AS made").fetchone() == {"made": None}
