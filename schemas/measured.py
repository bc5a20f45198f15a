"""What `sciqueue models bench` and the process that measures say to each other: an order and items in, figures out.

The order is the first line of the process's standard input, an item each further one; the figures are all of its
standard output. Everything is JSON, so that neither side imports the other.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict

from schemas.errors import RowError
from schemas.items import Content, Item, Molecule, Paper, Prompt, Rejected, Task
from schemas.registry import ModelEntry


class Order(BaseModel):
    """What to measure: a pinned model with a job's parameters, on one device (`cpu`, or a GPU by number or UUID).

    `samples` outcomes are due for each row. `threads`, `processes` and `slots` are as in the settings; None: as a
    worker chooses.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    entry: ModelEntry
    parameters: dict[str, Any]
    samples: int
    device: str
    slots: int
    threads: int | None = None
    processes: int | None = None


class SizeRate(BaseModel):
    """How fast micro-batches of `least` to `most` padded tokens were, in real tokens a second."""

    model_config = ConfigDict(frozen=True)

    least: int
    most: int
    tokens_per_second: float


class FailedRows(BaseModel):
    """How many rows failed with a code, and the first one's reason."""

    model_config = ConfigDict(frozen=True)

    code: RowError
    rows: int
    first: str


class Measured(BaseModel):
    """One model on one device, in the steady state: rows are prepared, computed and finished side by side.

    `rows` counts outcomes (a prompt has one a sample), each once: `rows == succeeded + failed`. `rows_per_second` is of
    the whole way, `device_rows_per_second` of the rows that the device got, by the time it worked. `budget` is the
    padded tokens a micro-batch that were learnt to be best; None where rows are decoded continuously. Shares are 0 to
    1: `padding_waste` of the computed tokens were padding, `fill` of the room was used, for `busy` of the time the
    device worked. `peak_memory` in bytes is of the process and those beside it, `device_memory` of a GPU.
    """

    model_config = ConfigDict(frozen=True)

    device: str
    threads: int
    processes: int
    load_seconds: float
    seconds: float
    rows: int
    succeeded: int
    failed: int
    failures: list[FailedRows]
    rows_per_second: float
    device_rows_per_second: float | None
    budget: int | None
    sizes: list[SizeRate]
    micro_batches: int
    tokens: int
    padding_waste: float
    fill: float
    queue_delay: float
    busy: float
    halved: int
    peak_memory: int
    device_memory: int | None


def to_line(row: int, content: Content | Rejected) -> str:
    """One item as a line of JSON."""
    stored: dict[str, Any]
    if isinstance(content, Rejected):
        stored = {"code": content.code.value, "message": content.message}
    elif isinstance(content, Paper):
        stored = content.to_json()
    else:
        stored = {"smiles": content.smiles}
    return json.dumps({"row": row} | stored)


def from_line(line: str, task: Task) -> Item:
    """The inverse of `to_line`, for a task's kind of content."""
    stored = json.loads(line)
    row = stored.pop("row")
    if "code" in stored:
        return Item(row, Rejected(RowError(stored["code"]), stored["message"]))
    match task:
        case Task.PREDICT:
            return Item(row, Molecule(stored["smiles"]))
        case Task.GENERATE:
            return Item(row, Prompt(stored["smiles"]))
        case Task.SUMMARIZE:
            return Item(row, Paper.from_json(stored))
        case Task.TRAIN:
            raise ValueError("a training run has no rows to measure")
