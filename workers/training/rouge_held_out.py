"""How good a summarizer that was just trained is: papers held out, summarized as a job would, judged by ROUGE."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.items import Item
from schemas.outcomes import Summary
from schemas.registry import ModelEntry
from schemas.rouge import LEAD, NAMES, Rouge, lead
from schemas.sentences import split
from workers.engines.contract import Prepared
from workers.engines.load import load_engine
from workers.training.paper_source import Pair
from workers.workshop import Workshop

MODEL = "model"
_AT_ONCE = 8  # papers


def judge(entry: ModelEntry, pairs: Sequence[Pair], device: str) -> tuple[dict[str, dict[str, float]], int]:
    """Mean F1 by measure, of the model and of each paper's first three sentences, and the papers that it is over.

    A paper that the engine does not summarize counts as an empty summary.
    """
    engine = load_engine(entry, device)
    workshop = Workshop(engine.cpu)
    scorer = Rouge()
    totals = {system: dict.fromkeys(NAMES, 0.0) for system in (MODEL, LEAD)}
    for begin in range(0, len(pairs), _AT_ONCE):
        some = pairs[begin : begin + _AT_ONCE]
        units = [engine.cpu.prepare(Item(at, pair.paper), entry.parameters) for at, pair in enumerate(some)]
        written = [""] * len(some)
        for done in workshop.finish(engine.run([unit for (unit,) in units if isinstance(unit, Prepared)])):
            if isinstance(done, Summary):
                written[done.row] = "\n".join(sentence.text for sentence in done.sentences)
        for pair, text in zip(some, written, strict=True):
            reference = "\n".join(split(pair.target))
            for system, said in ((MODEL, text), (LEAD, "\n".join(lead(pair.paper)))):
                for name, score in scorer.f1(said, reference).items():
                    totals[system][name] += score / len(pairs)
    return {system: {name: round(value, 4) for name, value in of.items()} for system, of in totals.items()}, len(pairs)
