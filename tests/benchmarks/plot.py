"""The table of ratios as a picture."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.figures import Figure

GOOD, SHORT, PLAIN = "#2a78b5", "#c44e52", "#9aa5ad"


def draw(figures: list[Figure], target: Path) -> None:
    """A bar a ratio, on a logarithmic scale, with a tick where its bar to reach lies."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    colours = {"ok": GOOD, "short": SHORT, "": PLAIN}
    drawing, axes = pyplot.subplots(figsize=(9, 0.42 * len(figures) + 1.2))
    places = range(len(figures), 0, -1)
    for place, figure in zip(places, figures, strict=True):
        axes.barh(place, figure.ratio, left=0, height=0.6, color=colours[figure.verdict])
        axes.text(figure.ratio * 1.06, place, f"{figure.ratio:.2f}", va="center", fontsize=8)
        if figure.bar is not None:
            axes.plot([figure.bar] * 2, [place - 0.42, place + 0.42], color="black", linewidth=2)
    axes.set_yticks(list(places), [f"{figure.name} / {figure.against}" for figure in figures], fontsize=8)
    axes.set_xscale("log")
    axes.axvline(1.0, color="grey", linewidth=0.8)
    axes.set_xlabel("how many times better than the other way (black: the bar to reach)", fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    drawing.tight_layout()
    drawing.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)
