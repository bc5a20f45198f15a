"""Randomly initialised classifiers over SMILES of ChemBERTa's shape, small or full, for tests and measurements."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from producer.demo_corpora import approved_drugs
from schemas import ensemble
from schemas.items import Molecule, Task
from schemas.registry import Endpoint, EngineKind, Limits, ModelEntry, Weights
from tests.checkpoints import SMILES_TOKENS, VOCABULARY
from workers.engines.nearest import ENDPOINT, Learnt

LABELS = ("NR-AR", "NR-ER", "SR-p53")
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
# Wide enough that molecules differ in every output, and narrow enough that sigmoids do not all end at 0 or 1.
WIDE = 0.2


def drugs(count: int) -> list[str]:
    """The SMILES of so many approved drugs, of all lengths and as they are given."""
    contents = (record.content for record in islice(approved_drugs(), 0, None, 5))
    return [content.smiles for content in islice(contents, count) if isinstance(content, Molecule)]


def make_classifier_checkpoint(
    folder: Path,
    *,
    labels: tuple[str, ...] = LABELS,
    problem: str | None = "multi_label_classification",
    tokenizer: Any = None,
    seed: int = 0,
    architecture: str = "RobertaForSequenceClassification",
    **config: Any,
) -> Path:
    """Save a RoBERTa of two layers with a byte-level tokenizer; `config` and `tokenizer` replace parts of it."""
    import torch
    import transformers

    tokenizer = byte_level() if tokenizer is None else tokenizer
    shape = SMALL | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": WIDE,
        "id2label": dict(enumerate(labels)),
        "label2id": {label: at for at, label in enumerate(labels)},
        "problem_type": problem,
    }
    shape = {name: value for name, value in (shape | config).items() if value is not None}
    kind = getattr(transformers, architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(kind.config_class(**shape))
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def classifier_entry(
    folder: Path, *, names: tuple[str, ...] = LABELS, kind: Any = "probability", **fields: Any
) -> ModelEntry:
    """The registry's entry of such a checkpoint."""
    limits = Limits(batch_rows=64, batch_size=10_000, token_budget=8192, max_rows=256, max_tokens=4096)
    described: dict[str, Any] = {
        "name": "small-classifier",
        "task": Task.PREDICT,
        "engine": EngineKind.CLASSIFIER,
        "weights": Weights(path=folder),
        "limits": limits,
        "endpoints": tuple(Endpoint(name=name, kind=kind) for name in names),
    }
    return ModelEntry(**described | fields)


def make_ensemble(folder: Path, *, members: int = 3, **described: Any) -> Path:
    """Save so many such checkpoints as one model, which learnt from twenty drugs."""
    names = [f"member-{seed}" for seed in range(members)]
    for seed, name in enumerate(names):
        make_classifier_checkpoint(folder / name, seed=seed, **described)
    Learnt.of(drugs(20)).save(folder)
    (folder / ensemble.FILE).write_text(ensemble.as_json(names))
    return folder


def ensemble_entry(folder: Path, *, kind: Any = "probability") -> ModelEntry:
    """The registry's entry of such an ensemble, which tells distances too."""
    entry = classifier_entry(folder, kind=kind, name="small-ensemble")
    return entry.model_copy(update={"endpoints": (*entry.endpoints, ENDPOINT)})


def byte_level(size: int = 400) -> Any:
    """A byte-level BPE tokenizer as ChemBERTa's, learnt on drugs: it knows every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(drugs(500), trainer)
    return _framed(backend)


def word_level(pattern: str = SMILES_TOKENS) -> Any:
    """A tokenizer that knows the tokens of a short list; what `pattern` does not match is dropped."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    words = [*SPECIAL, *VOCABULARY[4:]]
    backend = Tokenizer(models.WordLevel({token: at for at, token in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True)
    return _framed(backend)


def _framed(backend: Any) -> Any:
    """With RoBERTa's tokens around every text."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(name, backend.token_to_id(name)) for name in ("<s>", "</s>")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
    )
