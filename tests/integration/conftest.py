"""What the tests of commands share: settings that lead to the test's own database, and a small library."""

from __future__ import annotations

from pathlib import Path

import pytest


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
