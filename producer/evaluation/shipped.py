"""Evaluations that come with sciqueue, of the models that do.

Each is what `sciqueue evaluate JOB --json > schemas/quality/NAME.json` has written.
"""

from __future__ import annotations

from pathlib import Path

from producer.evaluation.metric import Evaluation
from schemas.registry import QUALITY


def of_shipped(folder: Path = QUALITY) -> dict[tuple[str, str], Evaluation]:
    """The evaluations in that folder, by model and revision. Their jobs were not in this machine's database."""
    found = [Evaluation.model_validate_json(file.read_text("utf-8")) for file in sorted(folder.glob("*.json"))]
    return {(one.model, one.revision): one.model_copy(update={"job": None}) for one in found}
