"""What an evaluation says: metrics with their intervals and denominators, and where all of it came from."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.items import Task

Better = Literal["higher", "lower"]
MODEL = "model"  # whose metric it is: the job's model, or a baseline by its name


class Metric(BaseModel):
    """One measured figure.

    `n` is what it was computed over, in units of `of`: the denominator of a share, the rows of a mean. `value` is
    None where the figure is not defined, and `note` says why. `low` and `high` bound a 95 % interval; both None where
    none is made. `better` says which way is better; None for a figure that only describes.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    value: float | None
    n: int
    of: str
    better: Better | None = None
    low: float | None = None
    high: float | None = None
    endpoint: str | None = None
    system: str = MODEL
    note: str = ""


class Report(BaseModel):
    """An evaluation before it is stored: `counts` are rows by what became of them, `notices` what a reader must know.

    `parameters` are all choices that the figures depend on.
    """

    metrics: list[Metric]
    counts: dict[str, int]
    parameters: dict[str, Any]
    notices: list[str] = Field(default_factory=list)


class Evaluation(Report):
    """An evaluation as it is stored, of one job and with it of one model at one revision."""

    id: int
    job: int | None  # None: the job was deleted since
    corpus: str
    task: Task
    model: str
    revision: str
    versions: dict[str, str]
    created_at: datetime
