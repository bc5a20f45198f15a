"""The part of a sequence classifier that needs no device: a molecule as its standardized SMILES' token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer

from schemas.errors import RowError
from schemas.items import Item, Molecule, Rejected
from schemas.outcomes import Failed
from workers.engines.contract import Prepared
from workers.engines.nearest import Learnt
from workers.engines.padding import Ids
from workers.engines.parameters import checked
from workers.molecules import PARENT, Refused, read

MAX_ATOMS = 400  # more are refused before the costly standardization, however few tokens they might make


class ClassifierParameters(BaseModel):
    """A job's parameters; `workers.molecules.read` says what they mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    standardize: str = Field(default=PARENT, description="'parent' or 'none'.")
    tautomers: bool = Field(default=False, description="Take the canonical tautomer, too.")


@dataclass(frozen=True, slots=True)
class Tokenized:
    """A molecule as the model reads it, special tokens included, and what it is stored under.

    `distance` is that to the nearest molecule learnt from; None where nobody asks for it.
    """

    ids: Ids
    smiles: str
    inchikey: str
    distance: float | None = None


class TokenWork:
    """The engine's `CpuWork`. A row may have `window` tokens; the ids `special` stand for no part of a molecule.

    With `learnt` it tells each molecule's distance to those.
    """

    heavy = True

    def __init__(
        self, tokenizer: Tokenizer, *, special: frozenset[int], window: int, learnt: Learnt | None = None
    ) -> None:
        self._learnt = learnt
        self._special = special
        self._window = window
        # The bare tokenizer, set up once: transformers' own calls change its state, which threads must not share.
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def prepare(self, item: Item, parameters: dict[str, Any]) -> Sequence[Prepared | Failed]:
        """Standardize a molecule and cut its canonical SMILES into tokens.

        A SMILES that its tokens do not give back is `UNSUPPORTED`: the model would see another molecule.

        Raises:
            UsageError: a parameter is unknown or has a value that does not exist.
        """
        asked = checked(ClassifierParameters, parameters)
        match item.content:
            case Molecule(smiles):
                pass
            case Rejected(code, message):
                return [Failed(item.row, code, message)]
            case _:
                return [Failed(item.row, RowError.UNSUPPORTED, "this model predicts on molecules")]
        structure = read(smiles, standardize=asked.standardize, tautomers=asked.tautomers, max_atoms=MAX_ATOMS)
        if isinstance(structure, Refused):
            return [Failed(item.row, structure.code, structure.message)]
        encoded = self._tokenizer.encode(structure.smiles)
        if not self._faithful(encoded, structure.smiles):
            message = f"the model's tokenizer does not know all of '{structure.smiles[:80]}'"
            return [Failed(item.row, RowError.UNSUPPORTED, message)]
        if len(encoded.ids) > self._window:
            message = f"{len(encoded.ids)} tokens; the model takes up to {self._window}"
            return [Failed(item.row, RowError.TOO_LONG, message)]
        distance = None if self._learnt is None else self._learnt.distance(structure.mol)
        data = Tokenized(tuple(encoded.ids), structure.smiles, structure.inchikey, distance)
        return [Prepared(item.row, tokens=len(data.ids), data=data)]

    def _faithful(self, encoded: Any, smiles: str) -> bool:
        """Whether the tokens, but for those set around every text, decode to the SMILES again."""
        added = encoded.special_tokens_mask
        own = [token for token, is_added in zip(encoded.ids, added, strict=True) if not is_added]
        # Word-level tokenizers set spaces between tokens; a SMILES has none.
        text = "".join(self._tokenizer.decode(own, skip_special_tokens=False).split())
        return text == smiles and not self._special.intersection(own)
