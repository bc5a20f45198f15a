"""How far a molecule lies from those that a model learnt from: to the nearest of them, by their fingerprints.

The fingerprints lie beside the weights, packed, and are pinned like them. Importing this file imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, DataStructs
from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator
from safetensors.numpy import load_file, save_file

from schemas import baseline
from schemas.errors import ModelUnavailable
from schemas.registry import Endpoint

FILE = "learnt.safetensors"
ENDPOINT = Endpoint(
    name="training_distance",
    kind="descriptor",
    description="1 - Tanimoto similarity (ECFP4, 2,048 bits) to the nearest molecule that the model learnt from",
)
_TENSOR = "ecfp4"
_MORGAN = GetMorganGenerator(radius=baseline.RADIUS, fpSize=baseline.BITS)


class Learnt:
    """The fingerprints of the molecules that a model learnt from: ECFP4, packed, (molecules, 256) uint8.

    It can be pickled, and asked from many threads at once.
    """

    def __init__(self, packed: NDArray[np.uint8]) -> None:
        self._packed = packed
        self._vectors = [DataStructs.CreateFromBinaryText(row.tobytes()) for row in packed]

    def __reduce__(self) -> tuple[Any, ...]:
        return Learnt, (self._packed,)

    @classmethod
    def of(cls, smiles: Iterable[str]) -> Learnt:
        """Those of these molecules; of several with one fingerprint, one."""
        rows = {DataStructs.BitVectToBinaryText(_MORGAN.GetFingerprint(Chem.MolFromSmiles(one))) for one in smiles}
        return cls(np.frombuffer(b"".join(sorted(rows)), np.uint8).reshape(-1, baseline.BITS // 8))

    @classmethod
    def read(cls, folder: Path) -> Learnt:
        """Those beside the weights in `folder`.

        Raises:
            ModelUnavailable: there are none, or the file is broken.
        """
        try:
            packed = load_file(folder / FILE)[_TENSOR]
        except Exception as fault:  # safetensors' own error derives from Exception alone
            raise ModelUnavailable(f"{folder / FILE} cannot be read, so no distance can be told: {fault}") from fault
        if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] * 8 != baseline.BITS or not len(packed):
            raise ModelUnavailable(f"{folder / FILE} holds no fingerprints of {baseline.BITS} bits")
        return cls(packed)

    def save(self, folder: Path) -> None:
        """Write them beside the weights, in place of those before."""
        fresh = folder / f"{FILE}.new"
        save_file({_TENSOR: self._packed}, fresh)
        fresh.chmod(0o644)
        fresh.replace(folder / FILE)

    def distance(self, molecule: Any) -> float:
        """1 - Tanimoto similarity of an RDKit molecule to the nearest of them, 0 to 1."""
        nearest: float = max(DataStructs.BulkTanimotoSimilarity(_MORGAN.GetFingerprint(molecule), self._vectors))
        return 1.0 - nearest
