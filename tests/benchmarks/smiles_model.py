"""A language model over SMILES of five million parameters, untrained, whose samples end as molecules do.

Random weights alone would end a sample with the same chance at each token, so that lengths would spread far wider
than those of molecules. So one head of the first layer looks at all tokens alike: the start token's share in what it
sees is one over the length so far, and the end token's logit rises as that share falls.
"""

from __future__ import annotations

from pathlib import Path

from tests.checkpoints import VOCABULARY, smiles_tokenizer

WIDTH, LAYERS, HEADS, INNER = 256, 6, 8, 704
CONTEXT = 160
BIAS, START, SHARE = range(3)  # dimensions that no layer writes to, but for the one head
# Chosen so that samples have 35 to 45 tokens in the mean, with a standard deviation of about 15.
END_LOGIT, END_FALL = 3.0, 90.0


def make_smiles_model(folder: Path) -> Path:
    """Save the model and its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=CONTEXT,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.05,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[: SHARE + 1] = 0.0
            layer.mlp.down_proj.weight[: SHARE + 1] = 0.0
        embedding = model.model.embed_tokens.weight
        embedding[:, BIAS] = 10.0
        embedding[:, START : SHARE + 1] = 0.0
        embedding[1, START] = 10.0
        first = model.model.layers[0].self_attn
        head = slice(0, WIDTH // HEADS)
        first.q_proj.weight[head] = 0.0
        first.v_proj.weight[head] = 0.0
        first.v_proj.weight[0, START] = 1.0
        first.o_proj.weight[:, head] = 0.0
        first.o_proj.weight[SHARE, 0] = 1.0
        # What the last layer's norm leaves of the two dimensions, seen on a sample text, scales the end's logit.
        text = torch.randint(4, len(VOCABULARY), (64, 50), generator=torch.Generator().manual_seed(1))
        text[:, 0] = 1
        seen = model.model(input_ids=text).last_hidden_state[:, -1].mean(0)
        head_weights = model.lm_head.weight
        head_weights[:, START : SHARE + 1] = 0.0
        head_weights[:, BIAS] = 0.0
        head_weights[[0, 1, 3], BIAS] = -9.0 / seen[BIAS]
        head_weights[2] = 0.0
        head_weights[2, BIAS] = END_LOGIT / seen[BIAS]
        head_weights[2, SHARE] = -END_FALL / 50 / seen[SHARE]
    smiles_tokenizer().save_pretrained(folder)
    model.save_pretrained(folder)
    return folder
