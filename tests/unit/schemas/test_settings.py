"""Settings come from the environment, once, checked; secrets stay out of what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from schemas.errors import ConfigurationError
from schemas.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SCIQUEUE_{name.upper()}", raising=False)


def test_nothing_needs_to_be_set() -> None:
    settings = load_settings()
    assert settings.database_url is None
    assert settings.broker_url is None
    assert settings.run_dir == settings.home / "run"
    assert settings.lease_seconds > 0


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCIQUEUE_HOME", str(tmp_path))
    monkeypatch.setenv("SCIQUEUE_DATABASE_URL", "postgresql://u:hush@h/d")
    monkeypatch.setenv("SCIQUEUE_SLOTS", "3")
    settings = load_settings()
    assert (settings.home, settings.slots) == (tmp_path, 3)
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://u:hush@h/d"


def test_memory_is_given_in_the_units_that_people_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().model_memory is None
    for given, size in (("6GiB", 6 << 30), ("500MB", 500_000_000), ("1048576", 1 << 20)):
        monkeypatch.setenv("SCIQUEUE_MODEL_MEMORY", given)
        assert load_settings().model_memory == size


def test_passwords_are_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIQUEUE_DATABASE_URL", "postgresql://u:hush@h/d")
    monkeypatch.setenv("SCIQUEUE_BROKER_URL", "redis://:hush@h/0")
    monkeypatch.setenv("SCIQUEUE_FLOWER_AUTH", "me:hush")
    settings = load_settings()
    assert "hush" not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SCIQUEUE_SLOTS", "none"),
        ("SCIQUEUE_SLOTS", "0"),
        ("SCIQUEUE_LEASE_SECONDS", "-1"),
        ("SCIQUEUE_TORCH_THREADS", "0"),
        ("SCIQUEUE_DRAIN_SECONDS", "soon"),
        ("SCIQUEUE_MODEL_MEMORY", "much"),
        ("SCIQUEUE_MODEL_MEMORY", "0"),
    ],
)
def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{name}: "):
        load_settings()


def test_settings_do_not_change_once_read() -> None:
    with pytest.raises(ValidationError):
        load_settings().slots = 2  # type: ignore[misc]
