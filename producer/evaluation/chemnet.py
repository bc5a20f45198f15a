"""The Fréchet ChemNet distance (Preuer et al. 2018): how far apart two sets of molecules lie for a trained network.

ChemNet and its weights are fcd-torch's. The weights are read as tensors alone, so that no program in them could run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from producer.packages import file_of

if TYPE_CHECKING:
    from producer.evaluation.molecules import Progress
    from schemas.scores import Array

_INSTALL = "pip install --no-deps fcd-torch==1.0.7"
_LENGTH = 350  # characters that ChemNet reads
_BATCH = 512


@dataclass(frozen=True, slots=True)
class Activations:
    """Mean (512,) and covariance (512, 512) of ChemNet's last layer over a set of molecules."""

    mean: Array
    covariance: Array


def weights() -> Path:
    """ChemNet's weights.

    Raises:
        ConfigurationError: fcd-torch is not installed.
    """
    return file_of("fcd-torch", "fcd_torch/ChemNet_v0.13_pretrained.pt", wanted_by="the metric FCD", install=_INSTALL)


def activations(canonical: Sequence[str], *, what: str, progress: Progress) -> Activations:
    """What ChemNet makes of canonical SMILES (at least two). 150 to 300 molecules a second on two cores.

    Raises:
        ConfigurationError: fcd-torch is not installed.
    """
    import numpy as np
    import torch

    network = _network()
    found = []
    progress(what, 0, len(canonical))
    for at in range(0, len(canonical), _BATCH):
        part = canonical[at : at + _BATCH]
        with torch.inference_mode():
            found.append(network(torch.from_numpy(np.stack([_letters(one) for one in part]))).numpy())
        progress(what, at + len(part), len(canonical))
    table = np.concatenate(found)
    return Activations(table.mean(0, dtype=np.float64), np.cov(table.T))


def distance(one: Activations, other: Activations) -> float:
    """The squared Fréchet distance between the two as normal distributions, |m - n|² + tr(C + D - 2 √(CD)).

    The trace of √(CD) is taken from the eigenvalues of √C D √C, which are the same and, C and D being covariances,
    real and not negative.
    """
    import numpy as np

    values, vectors = np.linalg.eigh(one.covariance)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ other.covariance @ root).clip(0)).sum()
    apart = one.mean - other.mean
    return float(apart @ apart + np.trace(one.covariance) + np.trace(other.covariance) - 2 * shared)


def _network() -> Any:
    import torch

    file = weights()
    from fcd_torch.utils import load_imported_model

    return load_imported_model(torch.load(file, weights_only=True)).eval()


def _letters(smiles: str) -> Array:
    """A SMILES as ChemNet reads it: (letters, characters) float32."""
    import numpy as np
    from fcd_torch.utils import get_one_hot

    letters = get_one_hot(smiles, _LENGTH)
    return np.ascontiguousarray(letters.T / letters.shape[1], np.float32)
