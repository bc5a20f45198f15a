"""Splitting molecules by scaffold, so that a model is tested on kinds of molecules that it has not learnt from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

FRACTIONS = (0.8, 0.1, 0.1)  # to learn from, to choose by, to be tested on


def scaffold_split(scaffolds: Sequence[str], fractions: Sequence[float] = FRACTIONS) -> list[list[int]]:
    """The places of each part's molecules, ascending; all molecules of a scaffold are in the same part.

    As in MoleculeNet (Wu et al. 2018): scaffolds in order of falling size go to the first part while they fit, then to
    the next; the last part gets what is left, the rarest. Ties are broken by the scaffold's text, so that neither
    chance nor the order of the molecules plays a part. `scaffolds` is one SMILES a molecule, "" for one without rings.
    """
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for place, scaffold in enumerate(scaffolds):
        groups[scaffold].append(place)
    bounds = [sum(fractions[: part + 1]) * len(scaffolds) for part in range(len(fractions))]
    parts: list[list[int]] = [[] for _ in fractions]
    for _, group in sorted(groups.items(), key=lambda one: (-len(one[1]), one[0])):
        filled = 0
        for part in range(len(parts)):
            filled += len(parts[part])
            if part == len(parts) - 1 or filled + len(group) <= bounds[part]:
                parts[part] += group
                break
    return [sorted(part) for part in parts]
