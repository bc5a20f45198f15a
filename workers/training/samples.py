"""A first look at a generator that was just trained: how many of its samples are molecules, different, and new."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.items import Item, Prompt
from schemas.outcomes import Generation
from schemas.registry import ModelEntry
from workers.engines.contract import Prepared
from workers.engines.load import load_engine
from workers.workshop import Workshop

COUNT = 1_000


def look_at_samples(entry: ModelEntry, learnt: Iterable[str], count: int = COUNT) -> dict[str, float]:
    """Sample with the engine, on the CPU: shares that are valid, of those unique, and of those not among `learnt`.

    Novelty compares canonical SMILES with the rows as they stand there.
    """
    engine = load_engine(entry, "cpu")
    units = engine.cpu.prepare(Item(0, Prompt("")), {**entry.parameters, "samples": count})
    outcomes = Workshop(engine.cpu).finish(engine.run([u for u in units if isinstance(u, Prepared)]))
    valid = [one.canonical for one in outcomes if isinstance(one, Generation) and one.valid and one.canonical]
    different = set(valid)
    known = different.intersection(learnt)
    return {
        "samples": count,
        "valid": round(len(valid) / count, 4),
        "unique": round(len(different) / max(len(valid), 1), 4),
        "novel": round(1 - len(known) / max(len(different), 1), 4),
    }
