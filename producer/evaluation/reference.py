"""Sets of molecules that generated ones are held against: MOSES's by name, or a file; what is computed of them is kept.

What is kept lies under the user's data folder, by the hash of the file's content and RDKit's version, since canonical
forms and descriptors may change from one to the next.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from producer.evaluation import chemnet, molecules
from producer.evaluation.chemnet import Activations
from producer.evaluation.molecules import BITS, PROPERTIES, Described, Progress
from producer.novelty import Known, known_molecules
from producer.packages import file_of
from producer.readers.open import read
from producer.readers.options import ReadOptions
from schemas.errors import UsageError
from schemas.items import ContentKind, Molecule
from schemas.settings import Settings

if TYPE_CHECKING:
    from schemas.scores import Array

_FORM = 1  # of what is kept; another number forgets it
_PREFIX = "moses:"
_MOSES = {"train": "Train", "test": "Test", "test_scaffolds": "TestSF"}  # with MOSES's own short names
_READY = {"test": "test_stats.npz", "test_scaffolds": "test_scaffolds_stats.npz"}  # computed, they come along


@dataclass(frozen=True)
class Reference:
    """A set of molecules: `name` as the user gave it, `short` for the names of metrics ("FCD/Test")."""

    name: str
    short: str
    file: Path
    cache: Path
    ready: Path | None = None

    @cached_property
    def digest(self) -> str:
        """The sha256 of the file's content."""
        with self.file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def smiles(self) -> list[str]:
        """The set's SMILES as they are written.

        Raises:
            UsageError, NotFound: the file cannot be read or holds no molecules.
        """
        records = read(self.file, kind=ContentKind.MOLECULE, options=ReadOptions())
        found = [record.content.smiles for record in records if isinstance(record.content, Molecule)]
        if not found:
            raise UsageError(f"{self.name} holds no molecules")
        return found

    def known(self, progress: Progress) -> Known:
        """All molecules of the set, by canonical SMILES."""
        return known_molecules(self.file, self.cache, lambda rows: progress(f"reading {self.name}", rows, rows))

    def described(self, progress: Progress) -> Described:
        """The set as `molecules.describe` sees it, but without canonical forms and filters.

        Of MOSES's test sets it is what comes with them, which a test compares with what we compute.
        """
        import numpy as np

        def compute() -> dict[str, Array]:
            if self.ready is not None:
                return _statistics_of(self.ready)
            found = molecules.describe(self.smiles(), filters=False, what=f"describing {self.name}", progress=progress)
            return {
                "given": np.array(found.given),
                "fingerprints": found.fingerprints,
                **{name: found.properties[name] for name in PROPERTIES},
                **_packed("fragments", found.fragments),
                **_packed("scaffolds", found.scaffolds),
            }

        kept = self._kept("described", compute)
        return Described(
            given=int(kept["given"]),
            canonical=[],
            fingerprints=kept["fingerprints"].reshape(-1, BITS // 8),
            fragments=_counted("fragments", kept),
            scaffolds=_counted("scaffolds", kept),
            properties={name: kept[name] for name in PROPERTIES},
            passes=None,
        )

    def chemnet(self, progress: Progress) -> Activations:
        """ChemNet's statistics of the set: MOSES's own where they come with it, else computed."""

        def compute() -> dict[str, Array]:
            if self.ready is not None:
                return _statistics_of(self.ready)
            forms = molecules.canonical_forms(self.smiles(), what=f"reading {self.name}", progress=progress)
            canonical = [one for part in forms for one in part if one]
            if len(canonical) < 2:
                raise UsageError(f"{self.name} holds less than two molecules: no FCD can be computed")
            found = chemnet.activations(canonical, what=f"ChemNet over {self.name}", progress=progress)
            return {"mu": found.mean, "sigma": found.covariance}

        kept = self._kept("described" if self.ready is not None else "chemnet", compute)
        return Activations(kept["mu"], kept["sigma"])

    def _kept(self, what: str, compute: Callable[[], dict[str, Array]]) -> dict[str, Array]:
        """Arrays that were computed once, by name; a process that dies while keeping them leaves nothing behind."""
        import numpy as np
        from rdkit import rdBase

        file = self.cache / f"{self.digest[:24]}-{what}-rdkit{rdBase.rdkitVersion}-{_FORM}.npz"
        if file.exists():
            with np.load(file) as kept:
                return dict(kept)
        found = compute()
        self.cache.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(f".{file.name}.{os.getpid()}.part")
        try:
            with unfinished.open("wb") as stream:
                np.savez(stream, **found)  # type: ignore[arg-type]
            unfinished.replace(file)
        finally:
            unfinished.unlink(missing_ok=True)
        return found


def cache_of(settings: Settings) -> Path:
    """The folder of what is kept."""
    return settings.home / "references"


def reference(name: str, cache: Path) -> Reference:
    """The set of that name: `moses:train`, `moses:test`, `moses:test_scaffolds`, or a file of molecules.

    Raises:
        ConfigurationError: molsets is not installed.
        UsageError: neither a name nor a file.
    """
    if name.startswith(_PREFIX):
        part = name.removeprefix(_PREFIX)
        if part not in _MOSES:
            raise UsageError(f"no set '{name}'; there are: {', '.join(_PREFIX + one for one in _MOSES)}")
        ready = _moses(_READY[part], name) if part in _READY else None
        return Reference(name, _MOSES[part], _moses(f"{part}.csv.gz", name), cache, ready)
    file = Path(name)
    if not file.is_file():
        raise UsageError(f"no file '{name}'; give a file of molecules, or {', '.join(_PREFIX + one for one in _MOSES)}")
    return Reference(name, file.name.partition(".")[0], file, cache)


def _moses(file: str, name: str) -> Path:
    return file_of("molsets", f"moses/dataset/data/{file}", wanted_by=f"the set {name}", install=molecules.MOSES)


def _packed(name: str, counts: Counter[str]) -> dict[str, Array]:
    """Counts of SMILES as two arrays, without pickled objects."""
    import numpy as np

    text = "\n".join(counts).encode()
    return {name: np.frombuffer(text, np.uint8), f"{name}_counts": np.array(list(counts.values()), np.int64)}


def _counted(name: str, kept: dict[str, Array]) -> Counter[str]:
    counts = kept[f"{name}_counts"].tolist()
    words = kept[name].tobytes().decode().split("\n") if counts else []
    return Counter(dict(zip(words, counts, strict=True)))


class _ArraysOnly(pickle.Unpickler):
    """Reads pickled arrays and counters. All else that a pickle may name is refused, so it cannot run a program."""

    _ALLOWED = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy.core.multiarray", "scalar"),
            ("_codecs", "encode"),
            ("collections", "Counter"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is neither an array nor a counter")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _statistics_of(file: Path) -> dict[str, Array]:
    """The arrays of `described` and `chemnet` from a file of MOSES's statistics."""
    import numpy as np

    with zipfile.ZipFile(file) as archive, archive.open("stats.npy") as stream:
        np.lib.format.read_magic(stream)
        np.lib.format.read_array_header_1_0(stream)
        statistics = _ArraysOnly(stream).load().item()
    fingerprints = statistics["SNN"]["fps"]
    return {
        "given": np.array(len(fingerprints)),
        "fingerprints": np.packbits(fingerprints, axis=1),
        **{name: np.array(statistics[name]["values"]) for name in PROPERTIES},
        **_packed("fragments", statistics["Frag"]["frag"]),
        **_packed("scaffolds", statistics["Scaf"]["scaf"]),
        "mu": statistics["FCD"]["mu"].astype(np.float64),
        "sigma": statistics["FCD"]["sigma"].astype(np.float64),
    }
