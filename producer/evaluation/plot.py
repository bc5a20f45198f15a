"""An evaluation as a picture: a dot a figure with its interval, the model beside its baseline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from producer.evaluation.metric import MODEL, Evaluation, Metric
from producer.evaluation.properties import DIFFERENCE
from schemas.errors import UsageError
from schemas.items import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHOWN = {
    Task.PREDICT: ("ROC-AUC", "Spearman"),
    Task.SUMMARIZE: ("ROUGE-1", "ROUGE-2", "ROUGE-L", "ROUGE-Lsum", "coverage", "support"),
    Task.GENERATE: ("Valid", "Unique", "Novelty", "IntDiv", "Filters", "SNN", "Frag", "Scaf", "QED mean"),
}
_COLOURS = ("tab:blue", "tab:orange")


def save(evaluation: Evaluation, file: Path) -> None:
    """Draw the figures between 0 and 1 that say most about the task, to a file whose ending tells the form.

    Raises:
        UsageError: the file cannot be written, or its ending names no form of picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [one for one in evaluation.metrics if _is_shown(one, evaluation.task)]
    lines = list(dict.fromkeys(_line(one) for one in shown))
    systems = list(dict.fromkeys(one.system for one in shown))
    figure = Figure(figsize=(7, 1.3 + 0.32 * len(lines)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, system in enumerate(systems):
        _draw(axes, [one for one in shown if one.system == system], lines, 0.12 * place, _COLOURS[place % 2], system)
    axes.set_yticks(range(len(lines)), lines)
    axes.invert_yaxis()
    axes.set_xlim(min(0.0, *(one.value or 0.0 for one in shown), 0.0), 1.0)
    axes.grid(axis="x", alpha=0.3)
    axes.set_title(f"{evaluation.model} on {evaluation.corpus} (intervals: 95 %)", fontsize=10)
    if len(systems) > 1:
        axes.legend(fontsize=8)
    try:
        figure.savefig(file, dpi=150)
    except (OSError, ValueError) as fault:
        raise UsageError(f"cannot write {file}: {fault}") from fault


def _is_shown(metric: Metric, task: Task) -> bool:
    kind = metric.name.partition("@")[0].partition("/")[0]
    return kind in _SHOWN[task] and metric.value is not None and metric.system != DIFFERENCE


def _line(metric: Metric) -> str:
    return f"{metric.endpoint}  {metric.name}" if metric.endpoint else metric.name


def _draw(axes: Axes, found: Sequence[Metric], lines: list[str], lower: float, colour: str, name: str) -> None:
    values = [one.value or 0.0 for one in found]
    places = [lines.index(_line(one)) + lower for one in found]
    sides = [
        [0.0 if one.low is None else max(0.0, value - one.low) for one, value in zip(found, values, strict=True)],
        [0.0 if one.high is None else max(0.0, one.high - value) for one, value in zip(found, values, strict=True)],
    ]
    label = "model" if name == MODEL else name
    axes.errorbar(values, places, xerr=sides, fmt="o", markersize=4, capsize=2, color=colour, label=label)
