"""Small randomly initialised checkpoints of real architectures, for tests without a trained model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas.items import Task
from schemas.registry import ModelEntry, Weights, load_registry

# Atoms of two letters and bracket atoms are one token, as in every sound SMILES tokenizer.
SMILES_TOKENS = r"\[[^\]]+\]|Br|Cl|[BCNOPSFI]|[bcnops]|[-=#$:/\\.()]|%\d\d|\d"
VOCABULARY = [
    *("[PAD]", "[BOS]", "[EOS]", "[UNK]"),
    *("C", "N", "O", "S", "F", "P", "B", "I", "Cl", "Br", "c", "n", "o", "s"),
    *("(", ")", "=", "#", "-", "/", "\\", ".", "1", "2", "3", "4", "[nH]", "[C@H]", "[C@@H]", "[N+]", "[O-]"),
]


# How much more often than others a token is drawn, in nats: mostly chains of carbon, so that some samples are valid.
LEANING = {"[PAD]": -9.0, "[BOS]": -9.0, "[UNK]": -9.0, "[EOS]": 2.0, "C": 3.0, "N": 2.0, "O": 2.0}


def smiles_tokenizer() -> Any:
    """A word-level tokenizer over the vocabulary."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({token: at for at, token in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(SMILES_TOKENS), behavior="isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="[BOS]", eos_token="[EOS]", pad_token="[PAD]", unk_token="[UNK]"
    )


def make_smiles_checkpoint(folder: Path, seed: int = 0, *, safe: bool = True) -> Path:
    """Save a two-layer Llama over SMILES tokens with its word-level tokenizer; safetensors unless `safe` is false.

    Its weights are drawn ten times wider than usual. The usual ones would leave every next token as likely as any
    other, whatever came before; samples from these differ, and end after very different lengths.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=160,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        # One hidden dimension is the same large value for all tokens, so that its output weights act as a bias.
        model.model.embed_tokens.weight[:, 0] = 24.0
        leanings = torch.tensor([LEANING.get(token, -2.0) for token in VOCABULARY])
        model.lm_head.weight[:, 0] = leanings / 4.0
    smiles_tokenizer().save_pretrained(folder)
    if safe:
        model.save_pretrained(folder)
    else:
        model.config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder


def sized_entry(folder: Path, name: str, size: int, task: Task = Task.PREDICT) -> ModelEntry:
    """A fake model whose weights are said to take so many bytes of memory: only their head is written."""
    folder = folder / name
    folder.mkdir()
    head = json.dumps({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head)
    like = load_registry().get(f"fake-{task.value}")
    return like.model_copy(update={"name": name, "weights": Weights(path=folder)})
