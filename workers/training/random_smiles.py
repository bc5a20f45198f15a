"""A molecule written from another atom: the same structure in other words, drawn by a seed."""

from __future__ import annotations

from typing import Any

import numpy as np

from workers.engines.padding import Ids


class RandomSmiles:
    """Writes molecules anew as token ids; as they were, where the tokens are unknown or more than `longest`.

    Texts have start and end tokens if they are `framed`, which do not count.
    """

    def __init__(self, tokenizer: Any, longest: int, *, framed: bool) -> None:
        self._framed = framed
        self._backend = tokenizer.backend_tokenizer
        self._unknown = tokenizer.unk_token_id
        self._longest = longest + (2 if framed else 0)

    def __call__(self, smiles: str, ids: Ids, random: np.random.Generator) -> Ids:
        """`smiles` in an order of its atoms that `random` draws; `ids` are its own."""
        from rdkit import Chem

        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None:
            return ids
        (other,) = Chem.MolToRandomSmilesVect(molecule, 1, randomSeed=int(random.integers(1, 2**31 - 1)))
        found: list[int] = self._backend.encode(other, add_special_tokens=self._framed).ids
        return ids if self._unknown in found or len(found) > self._longest else tuple(found)
