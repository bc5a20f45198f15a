"""What a stream of samples has yielded towards a target: how many are valid, unique, novel, and how many more to draw.

All of it is decided from the samples' keys, in the order of their rows, so it is the same whenever batches ended and
however the stream was drawn: in one go, in rounds of any size, or after a crash. Names and denominators are those of
MOSES (Polykovskiy et al., 2020): Valid of all samples, Unique@k of the first k valid ones, Novelty of the unique ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

FAILED, INVALID = 0, 1  # what stands in the place of a key where there is no molecule
_TABLED = (1_000, 10_000)  # the k of Unique@k that publications use: uniqueness falls as k grows
_MARGIN = 2.0  # standard deviations by which a round exceeds what is expected to be needed, so that it is the last


def key_of(canonical: str) -> int:
    """The 64 bits that stand for a molecule's canonical SMILES.

    Two molecules share them with a chance of 2^-64: among a million samples beside two million known molecules, one
    is taken for another in one run of four million.
    """
    return max(INVALID + 1, int.from_bytes(blake2b(canonical.encode(), digest_size=8).digest()))


class Reference(Protocol):
    """Molecules that are known already."""

    def holds(self, keys: Keys) -> NDArray[np.bool_]:
        """For each key, whether its molecule is known."""


@dataclass(frozen=True, slots=True)
class Count:
    """So many of so many, and what they are counted of."""

    count: int
    of: int
    of_what: str

    @property
    def share(self) -> float | None:
        """0 to 1; None of nothing."""
        return self.count / self.of if self.of else None

    def to_json(self) -> dict[str, Any]:
        """The share with its numerator and denominator."""
        return {"share": self.share, "count": self.count, "of": self.of, "of_what": self.of_what}


@dataclass(frozen=True, slots=True)
class Yield:
    """What the rows below `end` have brought; `kept` are the rows of the molecules that count towards the target.

    A stream is looked at up to the row that completes the target, or to its end. `failed` rows have no sample.
    `unique_at` has MOSES' Unique@k for the usual k, as far as there are so many. `novel` is None without a reference.
    """

    target: int
    end: int
    failed: int
    valid: int
    unique: int
    unique_at: dict[int, int]
    novel: int | None
    kept: NDArray[np.int64]

    @property
    def reached(self) -> bool:
        """Whether the target is complete."""
        return len(self.kept) == self.target

    @property
    def sampled(self) -> int:
        """Rows with a sample, valid or not."""
        return self.end - self.failed

    def counts(self) -> dict[str, Count]:
        """Each figure by its MOSES name, with its denominator."""
        found = {"Valid": Count(self.valid, self.sampled, "samples")}
        for k, unique in {**self.unique_at, self.valid: self.unique}.items():
            found[f"Unique@{k}"] = Count(unique, k, "valid")
        if self.novel is not None:
            found["Novelty"] = Count(self.novel, self.unique, "unique")
        return found | {"Kept": Count(len(self.kept), self.sampled, "samples")}

    def losses(self) -> dict[str, int]:
        """Why rows brought nothing towards the target, the most frequent reason first."""
        lost = {
            "failed": self.failed,
            "are no valid molecule": self.sampled - self.valid,
            "repeat one": self.valid - self.unique,
            "are known already": self.unique - len(self.kept),
        }
        return {why: lost[why] for why in sorted(lost, key=lambda why: -lost[why]) if lost[why]}


def tally(keys: Keys, target: int, known: Reference | None = None) -> Yield:
    """Count what samples have brought; `keys` has one for each row, `FAILED` or `INVALID` where there is no molecule.

    The first row that brings a molecule is the one that counts for it.
    """
    molecules = np.flatnonzero(keys > INVALID)
    _, places = np.unique(keys[molecules], return_index=True)  # the first place of each
    first = np.sort(molecules[places])
    fresh = first if known is None else first[~known.holds(keys[first])]
    kept = fresh[:target]
    end = int(kept[-1]) + 1 if len(kept) == target else len(keys)
    valid = int(np.searchsorted(molecules, end))
    return Yield(
        target=target,
        end=end,
        failed=int(np.count_nonzero(keys[:end] == FAILED)),
        valid=valid,
        unique=int(np.searchsorted(first, end)),
        unique_at={k: int(np.searchsorted(first, molecules[k - 1], "right")) for k in _TABLED if k < valid},
        novel=None if known is None else len(kept),
        kept=kept,
    )


def next_round(found: Yield, drawn: int, budget: int) -> int:
    """How many samples to draw next, when the target was not reached by the `drawn` ones; 0 when no more may be.

    At first as many as are missing, since none brings more than one molecule. Then what is missing over the share that
    the later half of the stream has brought (repeats become more frequent as it grows), and a margin against chance; at
    most as many as were drawn so far, since a share of few samples is a guess.
    """
    missing = found.target - len(found.kept)
    later = drawn - drawn // 2
    gained = len(found.kept) - int(np.searchsorted(found.kept, drawn // 2))
    wanted: float = missing
    if drawn:
        wanted = drawn
        if gained:
            share = gained / later
            expected = missing / share
            wanted = min(drawn, expected + _MARGIN * math.sqrt(expected * (1 - share) / share))
    return max(0, min(math.ceil(wanted), budget - drawn))
