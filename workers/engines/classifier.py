"""Properties by a `transformers` sequence classifier over SMILES, such as ChemBERTa: classes, tasks or plain values.

How logits are read is the checkpoint's to say, in its `problem_type`: tasks that are independent of each other
(Tox21) are a sigmoid each, classes that exclude each other a softmax, regressions the numbers themselves. Of an
ensemble (`schemas/ensemble.py`) a value is the mean of what its members say, with their standard deviation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.ensemble import members
from schemas.errors import ModelUnavailable
from schemas.outcomes import Prediction
from schemas.registry import Endpoint, ModelEntry
from workers.engines import int8
from workers.engines.classifier_cpu import Tokenized, TokenWork
from workers.engines.contract import Prepared
from workers.engines.nearest import ENDPOINT, Learnt
from workers.engines.padding import Ids, pad, passes
from workers.engines.pretrained import read_model, read_tokenizer
from workers.weights import locate

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "int8": "float32"}
KINDS = {
    "multi_label_classification": "probability",
    "single_label_classification": "probability",
    "regression": "regression",
}
# Padded tokens of one forward pass: on a CPU more no longer pays and leaves the cache; a GPU wants to be filled.
PASS_TOKENS = {"cpu": 1024, "cuda": 65536}
# How far a row's logits may move with the padding beside it; a model that reads padding moves them by far more.
NOISE = {"fp32": 1e-3, "bf16": 0.25, "int8": 0.25}


class ClassifierEngine:
    """One or more sequence classifiers on one device. In bf16 and int8 a value's third digit depends on its batch."""

    pads = True

    def __init__(self, entry: ModelEntry, folder: Path, device: str) -> None:
        self.entry = entry
        self._device = device
        folders = members(folder)
        int8.check(entry.name, entry.precision, folders)
        self._models = [
            read_model("AutoModelForSequenceClassification", one, dtype=DTYPES[entry.precision], device=device)
            for one in folders
        ]
        _compare(entry, folders, self._models)
        config = self._models[0].config
        self._problem = _problem(entry, config)
        self._columns = _columns(entry, config)
        tokenizer = read_tokenizer(folders[0])
        self._pad = _pad_token(entry, self._models, tokenizer)
        self.cpu = TokenWork(
            tokenizer.backend_tokenizer,
            special=frozenset(tokenizer.all_special_ids),
            window=int(min(entry.limits.max_tokens, tokenizer.model_max_length, *map(_positions, self._models))),
            learnt=Learnt.read(folder) if None in self._columns else None,
        )
        self._pass_tokens = PASS_TOKENS["cpu" if device == "cpu" else "cuda"]
        for model in self._models:
            self._refuse_reading_padding(model)

    def run(self, rows: Sequence[Prepared]) -> Sequence[Prediction]:
        """Predict a micro-batch. A value that is not finite becomes None, and so does the spread of one model."""
        texts = sorted(dict.fromkeys(row.data.ids for row in rows), key=len)  # equal molecules are computed once
        computed: dict[Ids, tuple[list[float], list[float]]] = {}
        for part in passes(texts, self._pass_tokens):
            mean, spread = self._said(part)
            computed.update(zip(part, zip(mean.tolist(), spread.tolist(), strict=True), strict=True))
        return [self._prediction(row.row, row.data, *computed[row.data.ids]) for row in rows]

    def _prediction(self, row: int, molecule: Tokenized, mean: list[float], spread: list[float]) -> Prediction:
        return Prediction(
            row,
            molecule.smiles,
            molecule.inchikey,
            values=[molecule.distance if at is None else _finite(mean[at]) for at in self._columns],
            spread=[None if at is None else _finite(spread[at]) for at in self._columns],
            percentile=(None,) * len(self._columns),
        )

    def _said(self, texts: Sequence[Ids]) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation over the members, (texts, labels of the model) both; NaN of a single model.

        The deviation divides by the number of members, as that of chemprop's ensembles does.
        """
        import torch

        said = torch.stack([self._read(self._logits(model, texts)) for model in self._models])
        mean = said.mean(dim=0)
        alone = len(self._models) == 1
        return mean, torch.full_like(mean, math.nan) if alone else said.std(dim=0, correction=0)

    def _logits(self, model: Any, texts: Sequence[Ids]) -> Tensor:
        """One row a text, one column a label of the model, in fp32 on the CPU."""
        import torch

        ids, mask = pad(texts, self._pad, self._device)
        with torch.inference_mode():
            logits: Tensor = model(input_ids=ids, attention_mask=mask).logits
        return logits.float().cpu()

    def _read(self, logits: Tensor) -> Tensor:
        readings: dict[str, Callable[[], Tensor]] = {
            "multi_label_classification": logits.sigmoid,
            "single_label_classification": lambda: logits.softmax(dim=-1),
            "regression": lambda: logits,
        }
        return readings[self._problem]()

    def _refuse_reading_padding(self, model: Any) -> None:
        """Some architectures read the last position, padding or not: their values would depend on the company."""
        known = [token for token in range(model.config.vocab_size) if token != self._pad][:8]
        short, long = tuple(known[:3]), tuple(known)
        try:
            moved = (self._logits(model, [short, long])[0] - self._logits(model, [short])[0]).abs().max().item()
        except (ValueError, RuntimeError, IndexError, TypeError) as fault:
            raise ModelUnavailable(f"model '{self.entry.name}' cannot compute on token ids alone: {fault}") from fault
        if not moved <= NOISE[self.entry.precision]:
            raise ModelUnavailable(
                f"model '{self.entry.name}': padding moves its values by {moved:.2g}, so they would depend on what "
                "shares a batch"
            )


def load(entry: ModelEntry, device: str) -> ClassifierEngine:
    """Load a sequence classifier.

    Raises:
        ModelUnavailable: the weights are missing, changed or refused, the head among them; the registry's endpoints
            are not the model's; or the checkpoint does not say how its logits are to be read.
    """
    return ClassifierEngine(entry, locate(entry.weights), device)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _compare(entry: ModelEntry, folders: Sequence[Path], models: Sequence[Any]) -> None:
    """The members of an ensemble must read the same tokens, and mean the same by their outputs."""
    kinds = [(model.config.problem_type, model.config.id2label, model.config.pad_token_id) for model in models]
    tokenizers = {file.read_bytes() if file.is_file() else b"" for file in (one / "tokenizer.json" for one in folders)}
    if any(kind != kinds[0] for kind in kinds) or len(tokenizers) > 1:
        raise ModelUnavailable(f"model '{entry.name}': its members differ in what they read or predict")


def _problem(entry: ModelEntry, config: Any) -> str:
    """How the logits are read, after comparing it with the kinds of the endpoints."""
    problem = config.problem_type
    if problem not in KINDS:
        raise ModelUnavailable(
            f"model '{entry.name}': its config.json has problem_type {problem!r}, so nobody knows how to read its "
            f"values; it must be one of {', '.join(KINDS)}"
        )
    others = [endpoint.name for endpoint in _predicted(entry) if endpoint.kind != KINDS[problem]]
    if others:
        raise ModelUnavailable(
            f"model '{entry.name}': by its problem_type {problem} endpoint '{others[0]}' is of kind '{KINDS[problem]}'"
        )
    return str(problem)


def _predicted(entry: ModelEntry) -> list[Endpoint]:
    """The endpoints that the network predicts: all but the distance to the molecules learnt from."""
    return [one for one in entry.endpoints if (one.name, one.kind) != (ENDPOINT.name, ENDPOINT.kind)]


def _columns(entry: ModelEntry, config: Any) -> list[int | None]:
    """The model's column of each endpoint: by name, or as they stand where the model names none; None: the distance."""
    named = [endpoint.name for endpoint in _predicted(entry)]
    labels = [config.id2label[at] for at in range(config.num_labels)]
    if len(named) != len(labels):
        raise ModelUnavailable(
            f"model '{entry.name}': the registry names {len(named)} endpoints, the model has {len(labels)} labels"
        )
    if all(re.fullmatch(r"LABEL_\d+", label) for label in labels):
        labels = named
    if sorted(named) != sorted(labels):
        difference = ", ".join(sorted(set(named) ^ set(labels)))
        raise ModelUnavailable(f"model '{entry.name}': the registry's endpoints differ from the model's: {difference}")
    return [labels.index(one.name) if one.name in labels else None for one in entry.endpoints]


def _pad_token(entry: ModelEntry, models: Sequence[Any], tokenizer: Any) -> int:
    """The token to fill up with; decoders find a text's end by the one their configuration names."""
    for model in models:
        if model.config.pad_token_id is None:
            model.config.pad_token_id = tokenizer.pad_token_id
        if model.config.pad_token_id is None:
            raise ModelUnavailable(f"model '{entry.name}' names no padding token, so rows cannot be computed together")
    return int(models[0].config.pad_token_id)


def _positions(model: Any) -> float:
    """How many tokens a text may have. RoBERTa and its kin count positions from behind the padding token's."""
    counts = [
        module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
        for name, module in model.named_modules()
        if name.endswith("position_embeddings") and hasattr(module, "num_embeddings")
    ]
    stated = getattr(model.config, "max_position_embeddings", None) or 0  # -1 where there is no bound
    return min(counts, default=stated if stated > 0 else math.inf)
