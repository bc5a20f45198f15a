"""SMILES as token ids: a word-level tokenizer that is learnt from the data, and the data encoded by it.

A token is an atom (of two letters, or in brackets, as a whole), a bond, a branch, a dot, or a ring closure. What the
regular expression does not know becomes a token too, between those that it knows; so any text comes back unchanged,
and a row for which that were not so is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMILES_TOKENS = r"\[[^\]]+\]|Br|Cl|[BCNOPSFI]|[bcnops]|[-=#$:/\\.()~*]|%\d\d|\d"
PAD, BEGIN, END, UNKNOWN, MASK = "[PAD]", "[BOS]", "[EOS]", "[UNK]", "[MASK]"  # in the order of their ids

_AT_ONCE = 20_000  # rows encoded together, so that few of them are held as objects


def learn_tokenizer(rows: Iterable[str], *, masks: bool = False) -> Any:
    """A `transformers` tokenizer that knows each token of these rows, the frequent ones first.

    With `masks` it is an encoder's: it also knows a mask, and sets start and end tokens around every text.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = [PAD, BEGIN, END, UNKNOWN, *([MASK] if masks else [])]
    backend = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(SMILES_TOKENS), behavior="isolated")
    trainer = trainers.WordLevelTrainer(vocab_size=2**16, special_tokens=special, show_progress=False)
    backend.train_from_iterator(rows, trainer)
    if masks:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{BEGIN} $A {END}", special_tokens=[(name, backend.token_to_id(name)) for name in (BEGIN, END)]
        )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
        **({"mask_token": MASK} if masks else {}),
    )


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows as token ids, one behind the other in `flat`: row n is `flat[offsets[n] : offsets[n + 1]]`.

    Start and end tokens are not among them. `left_out` counts by reason the rows that are missing.
    """

    flat: NDArray[np.uint16]
    offsets: NDArray[np.int64]
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, at: int) -> NDArray[np.uint16]:
        """One row's token ids."""
        return self.flat[self.offsets[at] : self.offsets[at + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row."""
        return np.diff(self.offsets)

    def chosen(self, rows: NDArray[np.int64]) -> Encoded:
        """These rows alone, in this order."""
        flat = np.concatenate([self.row(int(at)) for at in rows]) if len(rows) else self.flat[:0]
        return Encoded(flat, np.concatenate([[0], np.cumsum(self.lengths[rows])]), {})


def encode(tokenizer: Any, rows: Iterable[str], *, longest: int) -> Encoded:
    """Encode all rows that have at most `longest` tokens and come back from the tokenizer as they were."""
    flat: list[NDArray[np.uint16]] = []
    lengths: list[int] = []
    left_out: Counter[str] = Counter()
    remaining = iter(rows)
    while some := list(islice(remaining, _AT_ONCE)):
        usable = []
        for ids, reason in encode_each(tokenizer, some, longest):
            if reason:
                left_out[reason] += 1
            else:
                usable.append(ids)
        lengths += map(len, usable)
        flat.append(np.fromiter(chain.from_iterable(usable), dtype=np.uint16))
    offsets = np.concatenate([[0], np.cumsum(np.array(lengths, dtype=np.int64))])
    return Encoded(np.concatenate(flat) if flat else np.empty(0, np.uint16), offsets, dict(left_out))


def encode_each(tokenizer: Any, rows: Sequence[str], longest: int) -> Iterator[tuple[list[int], str]]:
    """For each row its ids, without start and end, and why it cannot be used, or ""."""
    backend = tokenizer.backend_tokenizer
    special = set(tokenizer.all_special_ids)
    ids = [encoding.ids for encoding in backend.encode_batch(rows, add_special_tokens=False)]
    texts = backend.decode_batch(ids, skip_special_tokens=False)
    for row, found, text in zip(rows, ids, texts, strict=True):
        if not row:
            yield found, "empty"
        elif len(found) > longest:
            yield found, f"more than {longest} tokens"
        elif text.replace(" ", "") != row or not special.isdisjoint(found):
            yield found, "not given back by the tokenizer"
        else:
            yield found, ""
