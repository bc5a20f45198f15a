"""A tokenizer learnt from SMILES gives each of them back, or says why not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.training.vocabulary import BEGIN, END, PAD, UNKNOWN, encode, learn_tokenizer

ROWS = ["CCO", "ClCCBr", "C[C@@H](N)C(=O)[O-]", "c1ccc2[nH]ccc2c1", "C%12CC%12", "F/C=C\\F", "[13CH4].[Na+]", "*~C"]
PIECES = [*"CNOFSPIBcnosp()=#-/\\.:~*$1239", "Cl", "Br", "[nH]", "[C@@H]", "%10", "é", "Xy"]


def test_atoms_brackets_and_ring_closures_are_one_token_each() -> None:
    tokenizer = learn_tokenizer(ROWS)
    tokens = tokenizer.tokenize("ClC[C@@H](N)C%12BrC%12")
    assert tokens == ["Cl", "C", "[C@@H]", "(", "N", ")", "C", "%12", "Br", "C", "%12"]
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3]) == [PAD, BEGIN, END, UNKNOWN]


def test_rows_come_back_in_their_order_and_none_is_lost() -> None:
    tokenizer = learn_tokenizer(ROWS)
    known = encode(tokenizer, ROWS, longest=30)
    texts = ["".join(tokenizer.decode(known.row(at)).split()) for at in range(len(known))]
    assert texts == ROWS
    assert known.left_out == {}
    assert known.lengths.tolist() == [len(tokenizer.tokenize(row)) for row in ROWS]


@given(st.lists(st.lists(st.sampled_from(PIECES), min_size=1, max_size=20).map("".join), min_size=1, max_size=10))
def test_whatever_was_learnt_is_given_back(rows: list[str]) -> None:
    assert encode(learn_tokenizer(rows), rows, longest=100).left_out == {}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("", "empty"),
        ("CCCCCCCCC", "more than 8 tokens"),
        ("CC O", "not given back by the tokenizer"),
        ("C[Se]C", "not given back by the tokenizer"),  # a token that the others do not have
        ("C[EOS]", "not given back by the tokenizer"),
    ],
)
def test_a_row_that_cannot_be_learnt_is_left_out_with_its_reason(row: str, reason: str) -> None:
    known = encode(learn_tokenizer(["CCO", "CN"]), ["CCO", row, "CN"], longest=8)
    assert known.left_out == {reason: 1}
    assert known.lengths.tolist() == [3, 2]


def test_some_rows_can_be_chosen() -> None:
    known = encode(learn_tokenizer(ROWS), ROWS, longest=30)
    chosen = known.chosen(np.array([3, 1]))
    assert [chosen.row(at).tolist() for at in range(2)] == [known.row(3).tolist(), known.row(1).tolist()]
