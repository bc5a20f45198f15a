"""What is hidden of a SMILES, and what a contrast compares."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem

from workers.training.batches import IGNORED, LengthBatches, widths
from workers.training.contrast import info_nce
from workers.training.masking import SHARE, CollateMasked, MaskedMolecules, masked
from workers.training.random_smiles import RandomSmiles
from workers.training.vocabulary import encode, learn_tokenizer

ROWS = ["CCO", "c1ccc2[nH]ccc2c1", "C[C@@H](N)C(=O)O", "CCCCN"]
TOKENIZER = learn_tokenizer(ROWS, masks=True)
ORDINARY = range(5, len(TOKENIZER))


@given(st.lists(st.integers(5, 9), min_size=1, max_size=40), st.integers(0, 2**32))
def test_labels_are_the_tokens_themselves_and_all_that_is_no_label_is_seen(ids: list[int], seed: int) -> None:
    seen, labels = masked(tuple(ids), np.random.default_rng(seed), mask=4, ordinary=range(5, 10))
    guessed = labels != IGNORED
    assert guessed.any()
    assert labels[guessed].tolist() == np.array(ids)[guessed].tolist()
    assert seen[~guessed].tolist() == np.array(ids)[~guessed].tolist()
    assert set(seen.tolist()) <= {4, *range(5, 10)}


def test_a_quarter_is_guessed_of_which_eight_tenths_are_masked_and_a_tenth_is_another_token() -> None:
    ids = (7,) * 100_000
    seen, labels = masked(ids, np.random.default_rng(0), mask=4, ordinary=range(5, 1005))
    guessed = labels != IGNORED
    assert guessed.mean() == pytest.approx(SHARE, abs=0.01)
    assert (seen[guessed] == 4).mean() == pytest.approx(0.8, abs=0.01)
    assert (seen[guessed] == 7).mean() == pytest.approx(0.1, abs=0.01)


def test_a_row_is_masked_anew_each_epoch_and_alike_whenever_the_epoch_is_begun() -> None:
    rows = encode(TOKENIZER, ROWS, longest=30)
    batches = LengthBatches(rows.lengths, widths(rows.lengths), 2, seed=3)
    data = MaskedMolecules(rows, batches, TOKENIZER)

    def epoch(number: int) -> list[list[int]]:
        batches.set_epoch(number)
        return [data[at][0][1].tolist() for at in range(len(data))]

    first, second = epoch(0), epoch(1)
    assert first != second
    assert epoch(0) == first


def test_padding_is_neither_seen_nor_guessed_and_views_follow_each_other() -> None:
    rows = encode(TOKENIZER, ROWS, longest=30)
    batches = LengthBatches(rows.lengths, widths(rows.lengths), 2, seed=3)
    views = RandomSmiles(TOKENIZER, 30, framed=False)
    data = MaskedMolecules(rows, batches, TOKENIZER, views=views)
    batch = CollateMasked(TOKENIZER)([data[0], data[1]])
    assert batch["input_ids"].shape == batch["labels"].shape
    assert len(batch["input_ids"]) == 4  # ethanol, indole, ethanol, indole
    assert batch["attention_mask"].sum(1).tolist()[0::2] == [5, 5]
    assert (batch["labels"][batch["attention_mask"] == 0] == IGNORED).all()
    assert (batch["input_ids"][:, 0] == TOKENIZER.bos_token_id).all()


def test_a_random_smiles_is_the_same_molecule_in_other_words() -> None:
    write = RandomSmiles(TOKENIZER, 30, framed=True)
    smiles = "C[C@@H](N)C(=O)O"
    own = tuple(TOKENIZER.backend_tokenizer.encode(smiles).ids)
    found = {write(smiles, own, np.random.default_rng(seed)) for seed in range(50)}
    texts = {"".join(TOKENIZER.decode(ids, skip_special_tokens=True).split()) for ids in found}
    assert len(texts) > 3
    assert {Chem.CanonSmiles(text) for text in texts} == {Chem.CanonSmiles(smiles)}
    assert RandomSmiles(TOKENIZER, 3, framed=True)(smiles, own, np.random.default_rng(0)) == own


def test_views_that_are_alike_and_unlike_all_others_cost_nothing_and_equal_ones_cost_chance() -> None:
    apart = torch.eye(4).repeat(2, 1)
    assert info_nce(apart, 0.01).item() == pytest.approx(0.0, abs=1e-6)
    assert info_nce(torch.ones(8, 4), 0.1).item() == pytest.approx(math.log(7), rel=1e-5)
    shuffled = torch.cat([torch.eye(4), torch.eye(4).roll(1, 0)])
    assert info_nce(shuffled, 0.1).item() > 5
