"""Molecules sampled from a decoder-only language model over SMILES: any such `transformers` checkpoint.

Rows with prompts of equal length go through the model together, so nothing is padded and no mask is needed; rows that
have ended leave the batch. A row's randomness is its own (`workers.sampling`), and a row for which noise between
batch shapes could have changed a token is sampled again alone, so a sample does not depend on its company.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import ModelUnavailable, RowError
from schemas.items import Item, Prompt, Rejected
from schemas.outcomes import Failed, Generation
from schemas.registry import ModelEntry
from workers import sampling
from workers.annotate import annotate
from workers.engines.contract import Prepared
from workers.engines.parameters import checked
from workers.engines.pretrained import read_model, read_tokenizer
from workers.weights import locate

if TYPE_CHECKING:
    import torch

CROWDED = 0.75  # once fewer of a batch's rows than this share are still growing, the others' caches are dropped


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


@dataclass(slots=True)
class Growing:
    """A sample while it grows. `wavering`: noise could have changed one of its tokens."""

    start: Start
    tokens: list[int]
    nll: float = 0.0
    wavering: bool = False


class CausalEngine:
    """A language model on one device. See the module's docstring; the contract says who calls what."""

    def __init__(self, entry: ModelEntry, folder: Path, device: str) -> None:
        if entry.precision != "fp32":
            raise ModelUnavailable(
                f"model '{entry.name}': in {entry.precision} a sample would depend on what shares its batch; use fp32"
            )
        self.entry = entry
        self._device = device
        self._model = read_model("AutoModelForCausalLM", folder, dtype="float32", device=device)
        tokenizer = read_tokenizer(folder)
        self._ends = _end_tokens(self._model, tokenizer)
        begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if begin is None or not self._ends:
            raise ModelUnavailable(f"{folder}: the tokenizer names no start or no end token, so nothing can be sampled")
        self._begin = int(begin)
        self._special = frozenset(tokenizer.all_special_ids)
        # The bare tokenizer, set up once: transformers' own calls change its state, which threads must not share.
        self._tokenizer = tokenizer.backend_tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        context = getattr(self._model.config, "max_position_embeddings", None) or entry.limits.max_tokens
        self._context = min(context, entry.limits.max_tokens)

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
        if self._special.intersection(ids) or self._text(ids) != prompt:
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

    def run(self, rows: Sequence[Prepared]) -> Sequence[Generation]:
        """Sample and annotate: one generation for each unit, in order."""
        done: dict[int, Growing] = {}
        lengths = [len(row.data.ids) for row in rows]
        for _, group in groupby(sorted(range(len(rows)), key=lengths.__getitem__), key=lengths.__getitem__):
            members = list(group)
            done |= zip(members, self._sample([rows[at].data for at in members]), strict=True)
        return [self._outcome(row, done[at]) for at, row in enumerate(rows)]

    def _sample(self, starts: Sequence[Start]) -> list[Growing]:
        """Sample from prompts of one length; what may have been swayed by its company once more, alone."""
        grown = self._grow(starts)
        if len(starts) == 1:
            return grown
        return [self._grow([sample.start])[0] if sample.wavering else sample for sample in grown]

    def _grow(self, starts: Sequence[Start]) -> list[Growing]:
        """The sampling loop: one pass for the prompts, then one token a step for all rows that have not ended."""
        import torch

        samples = [Growing(start, []) for start in starts]
        numbers = torch.from_numpy(
            sampling.uniforms([start.seed for start in starts], max(start.steps for start in starts))
        ).to(self._device)
        batch = list(range(len(starts)))  # the rows that the cache holds, in its order
        feed = torch.tensor([start.ids for start in starts], device=self._device)
        past: Any = None
        with torch.inference_mode():
            for step in range(numbers.shape[1]):
                output = self._model(input_ids=feed, past_key_values=past, use_cache=True)
                past = output.past_key_values
                tokens, nlls, wavering = sampling.draw(
                    output.logits[:, -1], numbers[batch, step], [starts[at].shape for at in batch]
                )
                self._record([samples[at] for at in batch], tokens, nlls, wavering)
                growing = [place for place, at in enumerate(batch) if not self._ended(samples[at])]
                if not growing:
                    break
                feed = tokens[:, None]
                if len(growing) < CROWDED * len(batch):
                    chosen = torch.tensor(growing, device=self._device)
                    past.batch_select_indices(chosen)
                    feed = feed[chosen]
                    batch = [batch[place] for place in growing]
        return samples

    def _record(
        self, samples: Sequence[Growing], tokens: torch.Tensor, nlls: torch.Tensor, wavering: torch.Tensor
    ) -> None:
        drawn = zip(samples, tokens.tolist(), nlls.tolist(), wavering.tolist(), strict=True)
        for sample, token, nll, wavers in drawn:
            if not self._ended(sample):
                sample.tokens.append(token)
                sample.nll += nll
                sample.wavering |= wavers

    def _ended(self, sample: Growing) -> bool:
        return len(sample.tokens) == sample.start.steps or (bool(sample.tokens) and sample.tokens[-1] in self._ends)

    def _outcome(self, row: Prepared, sample: Growing) -> Generation:
        """The text as sampled, end token aside. One that holds another special token stands for no molecule."""
        added = [token for token in sample.tokens if token not in self._ends]
        smiles = self._text([*sample.start.ids[1:], *added])
        found = None if self._special.intersection(added) else annotate(smiles)
        properties = {} if found is None else asdict(found)
        return Generation(
            row=row.row,
            sample=row.sample,
            smiles=smiles,
            valid=found is not None,
            nll=sample.nll,
            tokens=len(sample.tokens),
            seed=sample.start.seed,
            **properties,
        )

    def _text(self, ids: Sequence[int]) -> str:
        """Token ids as SMILES: without the spaces that word-level tokenizers set, special tokens shown."""
        return "".join(self._tokenizer.decode(list(ids), skip_special_tokens=False).split())


def load(entry: ModelEntry, device: str) -> CausalEngine:
    """Load a decoder-only model.

    Raises:
        ModelUnavailable: the weights are missing, changed or refused, the tokenizer has no start or end, or the entry
        asks for less than fp32.
    """
    return CausalEngine(entry, locate(entry.weights), device)


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Whatever the checkpoint takes for an end: its generation settings may name several."""
    named = model.generation_config.eos_token_id
    listed = named if isinstance(named, list) else [named]
    return frozenset(int(token) for token in [*listed, tokenizer.eos_token_id] if token is not None)
