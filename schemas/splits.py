"""Splitting molecules by scaffold, so that a model is tested on kinds of molecules that it has not learnt from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

FRACTIONS = (0.8, 0.1, 0.1)  # to learn from, to choose by, to be tested on


def scaffold_split(scaffolds: Sequence[str], fractions: Sequence[float] = FRACTIONS) -> list[list[int]]:
    """The places of each part's molecules, ascending; all molecules of a scaffold are in the same part.

    Much as in MoleculeNet (Wu et al. 2018): scaffolds in order of falling size go to the first part where they fit, the
    last one takes what fits nowhere; so the rarest are tested. Ties are broken by the scaffold's text, so that neither
    chance nor the order of the molecules plays a part. `scaffolds` is one SMILES a molecule, "" for one without rings.
    """
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for place, scaffold in enumerate(scaffolds):
        groups[scaffold].append(place)
    parts: list[list[int]] = [[] for _ in fractions]
    room = [fraction * len(scaffolds) for fraction in fractions[:-1]]
    for _, group in sorted(groups.items(), key=lambda one: (-len(one[1]), one[0])):
        fits = (part for part, space in enumerate(room) if len(parts[part]) + len(group) <= space)
        parts[next(fits, -1)] += group
    return [sorted(part) for part in parts]
