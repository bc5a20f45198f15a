"""What property models say of molecules while they are trained and judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from workers.engines.padding import Ids, pad, passes
from workers.training.quality import Values

_PASS_TOKENS = 8_192  # padded tokens of a forward pass


def outputs(model: Any, texts: Sequence[Ids], filler: int) -> Values:
    """The model's outputs in fp32, (texts, tasks), in the texts' order; it is left in the mode that it was in."""
    was = model.training
    model.eval()
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    found = []
    with torch.inference_mode():
        for part in passes([texts[at] for at in order], _PASS_TOKENS):
            ids, mask = pad(part, filler, model.device)
            found.append(model(input_ids=ids, attention_mask=mask).logits.float().cpu())
    model.train(was)
    said = torch.cat(found).numpy().astype(np.float64)
    back = np.empty_like(said)
    back[order] = said
    return back


def read(kind: str, said: Values) -> Values:
    """Outputs, (…, tasks), as what they mean: probabilities, or values as they are."""
    return 1 / (1 + np.exp(-said)) if kind == "probability" else said
