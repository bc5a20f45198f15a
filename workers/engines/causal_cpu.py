"""The part of sampling that needs no device: prompts to tokens before, and what a sample is as a molecule after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer

from schemas.errors import RowError
from schemas.items import Item, Prompt, Rejected
from schemas.outcomes import Failed, Generation, Outcome
from workers import sampling
from workers.annotate import annotate
from workers.engines.contract import Prepared
from workers.engines.parameters import checked


class CausalParameters(BaseModel):
    """A job's parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: int = Field(default=1, ge=1, le=100_000, description="Molecules for each prompt.")
    temperature: float = Field(default=1.0, gt=0, description="Below 1: the probable ones more often.")
    top_k: int = Field(default=0, ge=0, description="Draw from the k most probable tokens only; 0: from all.")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="Draw from the fewest tokens that reach this probability."
    )
    max_new_tokens: int = Field(default=128, ge=1, description="A sample is cut here; what there is, is judged.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="The job's seed; each sample derives its own.")


@dataclass(frozen=True, slots=True)
class Start:
    """What one sample begins with: the prompt's token ids behind the start token, and how to go on."""

    ids: tuple[int, ...]
    seed: int
    steps: int
    shape: sampling.Shape


class PromptWork:
    """The engine's `CpuWork`. Prompt and sample together may have `context` tokens, the start token `begin` included.

    `special` are the ids of tokens that stand for no part of a molecule.
    """

    heavy = True

    def __init__(self, tokenizer: Tokenizer, *, begin: int, special: frozenset[int], context: int) -> None:
        self._begin = begin
        self.special = special
        self._context = context
        # The bare tokenizer, set up once: transformers' own calls change its state, which threads must not share.
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def prepare(self, item: Item, parameters: dict[str, Any]) -> Sequence[Prepared | Failed]:
        """One unit a sample, counted as the prompt's tokens and all that may be added.

        A prompt that the tokenizer does not give back unchanged is `UNSUPPORTED`: the model would see another
        fragment. The model's context and its `max_tokens` bound prompt and sample together.

        Raises:
            UsageError: a parameter is unknown or out of its range.
        """
        asked = checked(CausalParameters, parameters)
        match item.content:
            case Prompt(smiles):
                pass
            case Rejected(code, message):
                return [Failed(item.row, code, message)]
            case _:
                return [Failed(item.row, RowError.UNSUPPORTED, "this model starts from prompts")]
        prompt = "".join(smiles.split())
        ids = self._tokenizer.encode(prompt, add_special_tokens=False).ids
        if self.special.intersection(ids) or self.text(ids) != prompt:
            return [Failed(item.row, RowError.UNSUPPORTED, "the model's tokenizer does not know all of this prompt")]
        steps = min(asked.max_new_tokens, self._context - len(ids) - 1)
        if steps < 1:
            message = f"{len(ids)} tokens leave no room in the model's {self._context}"
            return [Failed(item.row, RowError.TOO_LONG, message)]
        shape = sampling.Shape(asked.temperature, asked.top_k, asked.top_p)
        begin = (self._begin, *ids)
        return [
            Prepared(
                row=item.row,
                tokens=len(begin) + steps,
                data=Start(begin, sampling.row_seed(asked.seed, item.row, sample), steps, shape),
                sample=sample,
            )
            for sample in range(asked.samples)
        ]

    def finish(self, outcome: Outcome) -> Outcome:
        """Annotate a sample that may be a molecule, and find it invalid where it is none."""
        if not (isinstance(outcome, Generation) and outcome.valid):
            return outcome
        found = annotate(outcome.smiles)
        return replace(outcome, valid=False) if found is None else replace(outcome, **asdict(found))

    def text(self, ids: Sequence[int]) -> str:
        """Token ids as SMILES: without the spaces that word-level tokenizers set, special tokens shown."""
        return "".join(self._tokenizer.decode(list(ids), skip_special_tokens=False).split())
