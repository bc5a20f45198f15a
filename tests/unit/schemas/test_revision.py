"""A model's revision changes with whatever changes its numbers, and with nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigurationError, ModelUnavailable
from schemas.registry import Endpoint, EngineKind, Limits, ModelEntry, Weights, load_registry
from schemas.revision import pin, revision_of

LIMITS = Limits(batch_rows=8, batch_size=1000, token_budget=1000, max_rows=10, max_tokens=512)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PACKAGE = Weights(package="some-model", version="1.0", sha256={"model.safetensors": "a" * 64, "config.json": "b" * 64})


def entry(weights: Weights, **changes: Any) -> ModelEntry:
    fields: dict[str, Any] = {"name": "m", "task": "predict", "engine": "chemprop", "limits": LIMITS, **changes}
    return ModelEntry(weights=weights, **fields)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "member").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("[]")
    (folder / "member" / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_packages_revision_is_found_without_reading_a_file() -> None:
    revision = revision_of(entry(PACKAGE))
    assert revision.split("-")[1:3] == ["chemprop", "fp32"]
    assert len(revision.split("-")[0]) == 16
    assert revision_of(entry(PACKAGE)) == revision


@pytest.mark.parametrize(
    "changed",
    [
        entry(PACKAGE.model_copy(update={"version": "1.1"})),
        entry(PACKAGE.model_copy(update={"sha256": {"model.safetensors": "c" * 64, "config.json": "b" * 64}})),
        entry(PACKAGE, precision="bf16"),
        entry(PACKAGE, engine=EngineKind.EXTRACTIVE),
        entry(PACKAGE, endpoints=(Endpoint(name="logS", kind="regression"),)),
        entry(PACKAGE, limits=LIMITS.model_copy(update={"max_tokens": 256})),
    ],
)
def test_what_changes_the_numbers_changes_the_revision(changed: ModelEntry) -> None:
    assert revision_of(changed) != revision_of(entry(PACKAGE))


def test_what_only_changes_the_speed_or_the_wording_keeps_the_revision() -> None:
    limits = LIMITS.model_copy(update={"batch_rows": 99, "token_budget": 9, "wait_ms": 1.0})
    reordered = PACKAGE.model_copy(update={"sha256": dict(reversed(PACKAGE.sha256.items()))})
    assert revision_of(entry(reordered, limits=limits, description="new", default=True)) == revision_of(entry(PACKAGE))


def test_a_folders_revision_follows_its_contents(folder: Path) -> None:
    weights = Weights(path=folder)
    revision = revision_of(entry(weights))
    (folder / "README.md").write_text("of no account")
    assert revision_of(entry(weights)) == revision
    for name in ("config.json", "tokenizer.json", "member/model.safetensors"):
        before = revision_of(entry(weights))
        (folder / name).write_bytes(name.encode())
        assert revision_of(entry(weights)) != before


def test_a_moved_folder_is_the_same_model(folder: Path, tmp_path: Path) -> None:
    revision = revision_of(entry(Weights(path=folder)))
    assert revision_of(entry(Weights(path=folder.rename(tmp_path / "elsewhere")))) == revision


def test_a_pinned_folder_carries_the_hashes_that_workers_compare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    pinned = pin(entry(Weights(path=Path("model")))).entry.weights
    assert pinned.path == folder
    assert sorted(pinned.sha256) == ["config.json", "member/model.safetensors", "tokenizer.json"]
    expected = {"config.json": "f" * 64}
    assert pin(entry(Weights(path=folder, sha256=expected))).entry.weights.sha256["config.json"] == "f" * 64


def test_a_single_file_can_be_the_weights(folder: Path) -> None:
    pinned = pin(entry(Weights(path=folder / "member" / "model.safetensors")))
    assert list(pinned.entry.weights.sha256) == ["."]


def test_what_a_model_needs_is_read_off_its_files_where_they_are(folder: Path) -> None:
    head = json.dumps({"w": {"dtype": "F16", "shape": [5, 1 << 30], "data_offsets": [0, 10 << 30]}}).encode()
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head)
    assert pin(entry(Weights(path=folder))).need == 20 << 30
    assert pin(entry(Weights(path=folder), precision="bf16")).need == 10 << 30
    assert pin(entry(PACKAGE)).need is None  # it is not installed here


def test_missing_weights_say_what_to_mend(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="correct `path`"):
        revision_of(entry(Weights(path=tmp_path / "absent")))
    with pytest.raises(ModelUnavailable, match="no safetensors"):
        revision_of(entry(Weights(path=tmp_path)))
    with pytest.raises(ConfigurationError, match="no weights"):
        revision_of(entry(Weights()))
    with pytest.raises(ConfigurationError, match="`version` and `sha256`"):
        revision_of(entry(Weights(package="some-model")))


def test_a_pinned_commit_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert revision_of(entry(Weights(hub="lab/model", revision=COMMIT))).startswith(f"{COMMIT}-chemprop-fp32-")


@pytest.mark.parametrize("revision", [None, "v1.0", COMMIT[:7]])
def test_a_branch_or_tag_is_resolved_to_its_commit(revision: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with _hub() as (url, asked):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        pinned = pin(entry(Weights(hub="lab/model", revision=revision)))
    assert pinned.entry.weights.revision == COMMIT
    assert pinned.revision.startswith(COMMIT)
    assert pinned.need is None  # nothing is fetched to know it
    assert asked[-1] == f"/api/models/lab/model/revision/{revision or 'main'}"


def test_an_unreachable_hub_asks_to_pin_the_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelUnavailable, match=r"'main' of lab/model.*set `revision`"):
        revision_of(entry(Weights(hub="lab/model")))


def test_shipped_weights_have_the_revision_of_the_same_files_in_a_folder(folder: Path) -> None:
    pinned = pin(entry(Weights(path=folder)))
    hashes = pinned.entry.weights.sha256
    assert revision_of(entry(Weights(shipped="some-model", sha256=hashes))) == pinned.revision
    with pytest.raises(ConfigurationError, match="need `sha256`"):
        pin(entry(Weights(shipped="some-model")))


def test_a_fake_engine_has_no_weights() -> None:
    assert revision_of(load_registry().get("fake-predict")) == "builtin"


@contextmanager
def _hub() -> Iterator[tuple[str, list[str]]]:
    """A hub on loopback that knows one commit; and the paths it was asked for."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path.partition("?")[0])
            body = json.dumps({"id": "lab/model", "sha": COMMIT}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing to print."""

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
