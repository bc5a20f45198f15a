"""What tests share: settings that lead to the test's own database, a small library, and a worker's lease."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from producer.broker import Broker
from schemas.database import Database
from schemas.items import Task
from schemas.ledger import leases
from workers.lease import LeaseKeeper


@pytest.fixture
def command_settings(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a command: the test's own database, and nothing of the user's."""
    monkeypatch.setenv("SCIQUEUE_DATABASE_URL", database_url)
    monkeypatch.setenv("SCIQUEUE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SCIQUEUE_MODELS_FILE", raising=False)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Four molecules; one has no SMILES, one fails on the worker."""
    file = tmp_path / "library.csv"
    file.write_text("id,smiles,note\na,CCO,first\nb,bad1,second\nc,,third\nd,CC,fourth\n")
    return file


@pytest.fixture
def broker(broker_url: str) -> Iterator[Broker]:
    made = Broker(broker_url)
    yield made
    made.close()


@pytest.fixture
def keeper(database: Database) -> Iterator[LeaseKeeper]:
    info = leases.WorkerInfo("cpu0@test", "cpu", 1, [task.queue for task in Task], 8, {"python": "3"})
    made = LeaseKeeper(database, info, 60.0, on_lost=lambda: None, on_broken=lambda: None)
    made.start()
    yield made
    made.stop()
