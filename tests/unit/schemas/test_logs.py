from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from threading import Thread

import pytest

from schemas.logs import Format, about, set_up

log = logging.getLogger("workers.runner")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers = []  # pytest's own would be closed
    yield
    root.handlers, root.level = before, level


def _lines(form: Format) -> io.StringIO:
    stream = io.StringIO()
    set_up("gpu0@host", form, stream)
    return stream


def test_a_line_of_json_says_who_speaks_and_what_it_is_about() -> None:
    stream = _lines("json")
    with about(batch=7, fence=2):
        with about(job=3):
            log.info("%d rows", 5)
        log.warning("done")
    log.info("idle")
    first, second, third = map(json.loads, stream.getvalue().splitlines())
    assert (
        first.items() >= {"part": "gpu0@host", "logger": "workers.runner", "message": "5 rows", "level": "info"}.items()
    )
    assert {key: first[key] for key in ("job", "batch", "fence")} == {"job": 3, "batch": 7, "fence": 2}
    assert "job" not in second and second["batch"] == 7
    assert "batch" not in third
    assert first["time"].endswith("+00:00")


def test_another_thread_is_about_something_else() -> None:
    stream = _lines("json")
    with about(batch=7):
        other = Thread(target=log.info, args=("elsewhere",))
        other.start()
        other.join()
    assert "batch" not in json.loads(stream.getvalue())


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_password_is_logged(form: Format) -> None:
    stream = _lines(form)
    try:
        raise OSError("cannot reach redis://:sesame@broker:6379/0")
    except OSError:
        log.exception("postgresql://ann:open!sesame@host/db is away")
    assert "sesame" not in stream.getvalue()
    assert "postgresql://ann:***@host/db" in stream.getvalue()
    assert "redis://:***@broker:6379/0" in stream.getvalue()


def test_text_has_a_line_with_the_process_and_the_module() -> None:
    stream = _lines("text")
    log.info("loaded")
    assert stream.getvalue().endswith(" gpu0@host INFO workers.runner: loaded\n")
