"""Log lines, for people or as JSON (SCIQUEUE_LOG_FORMAT), with what they are about and without passwords."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

Format = Literal["text", "json"]

_PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):[^@\s]+(?=@)")
_ABOUT: ContextVar[dict[str, int | str]] = ContextVar("about", default={})  # noqa: B039 - never changed, only replaced


def set_up(part: str, form: Format, stream: object = None) -> None:
    """Log to standard error from here on; `part` is the process that speaks: dispatcher, gpu0@host."""
    handler = logging.StreamHandler(stream or sys.stderr)  # type: ignore[arg-type]
    handler.setFormatter(_Json(part) if form == "json" else _Text(part))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


@contextmanager
def about(**what: int | str) -> Iterator[None]:
    """What this thread logs within the block is about these, in addition to what encloses it: job, batch, fence."""
    token = _ABOUT.set(_ABOUT.get() | what)
    try:
        yield
    finally:
        _ABOUT.reset(token)


class _Text(logging.Formatter):
    def __init__(self, part: str) -> None:
        super().__init__(f"%(asctime)s {part.replace('%', '%%')} %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return _without_passwords(super().format(record))


class _Json(logging.Formatter):
    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "part": self._part,
            "logger": record.name,
            "message": _without_passwords(record.getMessage()),
            **_ABOUT.get(),
        }
        if record.exc_info:
            line["traceback"] = _without_passwords(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def _without_passwords(text: str) -> str:
    """URLs of servers without what lets one in."""
    return _PASSWORD.sub(r"\1:***", text)
