"""Judging a property model as it was saved, beside the baseline, on the parts that it has not learnt from."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem

from schemas.ensemble import members
from workers.engines.nearest import Learnt
from workers.engines.pretrained import read_model
from workers.training.molecule_outputs import outputs, read
from workers.training.property_data import Part, Prepared
from workers.training.quality import Values, ecfp4, figures, forest

_JUDGED: tuple[Part, ...] = ("validation", "test")
_QUANTILES = {"median": 0.5, "nine tenths": 0.9}


def measured(ready: Prepared, folder: Path, temperatures: Values | None) -> dict[str, Any]:
    """By part: labels a task, scores of the model and of the baseline, and how far the molecules lie from those learnt.

    Of probabilities also "uncalibrated": the scores as they would be without the `temperatures`, (tasks,), that are
    folded into the weights. The baseline also learns from what the model refuses, as it does in `sciqueue evaluate`.
    """
    known, split = ready.known, ready.split
    models = [
        read_model("AutoModelForSequenceClassification", one, dtype="float32", device="cpu") for one in members(folder)
    ]
    learnt = Learnt.read(folder)
    places = np.concatenate([split.usable[part] for part in _JUDGED])
    theirs = forest(known.kind, ecfp4(split.names), known.labels, split.parts["train"], places)
    found: dict[str, Any] = {}
    for part in _JUDGED:
        labels = ready.labels_of(part)
        score = partial(figures, known.kind, known.tasks, labels)
        said = np.stack([outputs(one, ready.texts_of(part), ready.tokenizer.pad_token_id) for one in models])
        found[part] = {
            "labels": dict(zip(known.tasks, (~np.isnan(labels)).sum(0).tolist(), strict=True)),
            "model": score(read(known.kind, said).mean(0)),
            "baseline": score(theirs[: len(labels)]),
            "distance": _distances(learnt, ready.smiles_of(part)),
        }
        if temperatures is not None:
            found[part]["uncalibrated"] = score(read(known.kind, said * temperatures).mean(0))
        theirs = theirs[len(labels) :]
    return found


def _distances(learnt: Learnt, smiles: list[str]) -> dict[str, float]:
    """Quantiles of the molecules' distances to the nearest one learnt from."""
    far = [learnt.distance(Chem.MolFromSmiles(one)) for one in smiles]
    return {name: round(float(np.quantile(far, share)), 3) for name, share in _QUANTILES.items()}
