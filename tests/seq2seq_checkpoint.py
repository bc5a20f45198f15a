"""Randomly initialised encoder-decoders for tests, with weights drawn so that what they write varies."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

from schemas.items import Paper, Section, Task
from schemas.registry import EngineKind, Limits, ModelEntry, Weights

SPECIAL = ["<pad>", "</s>", "<unk>"]
LOUD = 16.0  # times as much as usual is added to the hidden state by each layer
ENDING = {(False, True): 3.0, (False, False): 3.0, (True, True): 1.6, (True, False): 1.2}
SUBJECTS = ("enzyme", "catalyst", "polymer", "receptor", "crystal", "mutant", "membrane", "ligand", "isotope", "neuron")
VERBS = ("binds", "lowers", "raises", "folds", "melts", "cleaves", "inhibits", "activates", "oxidises", "resists")
PLACES = ("water", "ethanol", "vivo", "vitro", "silico", "darkness", "plasma", "tissue", "soil", "blood", "air")


def paper(number: int, sentences: int | None = None) -> Paper:
    """A paper of its own content, of 2 to 16 sentences unless told otherwise, in sections of up to six."""
    draw = Random(number)
    count = draw.randint(2, 16) if sentences is None else sentences
    said = [
        f"The {draw.choice(SUBJECTS)} {draw.choice(VERBS)} {draw.randint(2, 999)} {draw.choice(SUBJECTS)}s "
        f"in {draw.choice(PLACES)}."
        for _ in range(count)
    ]
    sections = tuple(Section(f"Part {at // 6}", (" ".join(said[at : at + 6]),)) for at in range(0, count, 6))
    return Paper(f"Paper {number}", sections)


def make_t5_checkpoint(
    folder: Path,
    *,
    gated: bool = False,
    tied: bool = True,
    varied: bool = True,
    seed: int = 0,
    tokenizer: Any = None,
    **config: Any,
) -> Path:
    """Save a T5 of two blocks a stack: `gated` as flan-t5's feed-forward part, and not `tied` as its embeddings.

    Without `varied` its weights are as T5 draws them, which is as fast as a trained one: attention as sharp as here
    makes numbers so small that a processor is slow at them.
    """
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    tokenizer = tokenizer or unigram()
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer) + 12,  # as T5's, whose embeddings have rows that no token uses
        "d_model": 64,
        "d_kv": 16,
        "d_ff": 128,
        "num_layers": 2,
        "num_heads": 4,
        "feed_forward_proj": "gated-gelu" if gated else "relu",
        "tie_word_embeddings": tied,
        "decoder_start_token_id": 0,
    }
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = T5ForConditionalGeneration(T5Config(**shape | config))
        if varied:
            _vary(model, gated=gated, tied=tied)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def make_t5_of_papers(folder: Path, size: int = 2000) -> Path:
    """Save such a T5 whose tokens are learnt from ACLSum's training papers, for training that begins from nothing."""
    from workers.training.paper_source import Pair, find_papers

    pairs = [pair for pair in find_papers("aclsum:train").rows() if isinstance(pair, Pair)]
    bodies = [text for pair in pairs for section in pair.paper.sections for text in section.paragraphs]
    tokenizer = unigram(size, [*bodies, *(pair.target for pair in pairs)])
    return make_t5_checkpoint(folder, varied=False, tokenizer=tokenizer)


def _vary(model: Any, *, gated: bool, tied: bool) -> None:
    """As it is drawn, a decoder hardly looks at its source or at positions, and repeats one token."""
    import torch

    for block in model.decoder.block:
        block.layer[1].EncDecAttention.q.weight.mul_(16.0)
        block.layer[1].EncDecAttention.o.weight.mul_(LOUD)
        block.layer[0].SelfAttention.q.weight.mul_(16.0)
        block.layer[0].SelfAttention.o.weight.mul_(LOUD)
        block.layer[2].DenseReluDense.wo.weight.mul_(LOUD)
    model.decoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight.normal_(std=2.0)
    if not tied:
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) * 64**-0.5)
    model.lm_head.weight[1] *= ENDING[gated, tied]  # some end soon, others not at all


def make_bart_checkpoint(folder: Path, seed: int = 0, **config: Any) -> Path:
    """Save a BART of two layers a stack, with the same tokenizer."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    tokenizer = unigram()
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "d_model": 64,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 128,
        "decoder_ffn_dim": 128,
        "max_position_embeddings": 256,
        "init_std": 0.3,
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 1,
        "forced_eos_token_id": None,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BartForConditionalGeneration(BartConfig(**shape | config))
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def seq2seq_entry(folder: Path, **fields: Any) -> ModelEntry:
    """The registry's entry of such a checkpoint, which reads windows of 128 tokens."""
    limits = Limits(batch_rows=16, batch_size=100_000, token_budget=65536, max_rows=128, max_tokens=128)
    described: dict[str, Any] = {
        "name": "small-seq2seq",
        "task": Task.SUMMARIZE,
        "engine": EngineKind.SEQ2SEQ,
        "weights": Weights(path=folder),
        "limits": limits,
        "parameters": {"max_new_tokens": 40},
    }
    return ModelEntry(**described | fields)


def unigram(size: int = 240, texts: Iterable[str] = ()) -> Any:
    """A unigram tokenizer as T5's, learnt on such papers and other texts: it ends every text with its end token."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    own = [text for number in range(200) for part in paper(number).sections for text in part.paragraphs]
    backend.train_from_iterator(["summarize: 0123456789", *own, *texts], trainer)
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="</s>", pad_token="<pad>", unk_token="<unk>", model_max_length=512
    )
