"""What the metrics of generation need to know of each molecule, computed side by side in processes.

Canonical forms and descriptors are RDKit's. A text counts as a molecule if RDKit reads it, it has an atom, and no white
space is in it (RDKit takes what follows white space for a name, and an empty text for an empty molecule).
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from producer.packages import file_of
from schemas import baseline

if TYPE_CHECKING:
    from schemas.scores import Array

MOSES = "pip install --no-deps molsets==0.3.1"
BITS = 1024
PROPERTIES = ("logP", "SA", "QED", "weight")

_CHUNK = 500  # molecules a task: half a second to a second of work
_ATOMS = frozenset({"C", "N", "S", "O", "F", "Cl", "Br", "H"})
_LARGEST_RING = 7

Progress = Callable[[str, int, int], None]
"""Gets what is being done, how many rows of it are, and how many there are in all."""

_Result = TypeVar("_Result")


@dataclass(slots=True)
class Described:
    """Molecules as the metrics see them. Invalid texts are left out; `given` counts them too.

    `fingerprints` are Morgan's of radius 2 with 1,024 bits, packed to 128 bytes a row (uint8). `fragments` counts the
    pieces between BRICS bonds, `scaffolds` the Bemis-Murcko scaffolds of at least two rings. `properties` has a float64
    for each molecule: logP (Crippen), SA (1 easy to 10 hard), QED (0 to 1), weight (g/mol). `passes` says which pass
    MOSES's filters; None where that was not asked.
    """

    given: int
    canonical: list[str]
    fingerprints: Array
    fragments: Counter[str]
    scaffolds: Counter[str]
    properties: dict[str, Array]
    passes: Array | None


def describe(smiles: Sequence[str], *, filters: bool, what: str, progress: Progress, processes: int = -1) -> Described:
    """Describe molecules in their order; with `filters` also whether each passes.

    About 2 ms of one core a molecule, the filters another 2. `processes` as joblib counts them: -1 is all cores.

    Raises:
        ConfigurationError: the filters are asked for and molsets is not installed.
    """
    import numpy as np

    paths = filter_files() if filters else None
    parts = list(_each(_describe_chunk, smiles, paths, what=what, progress=progress, processes=processes))
    return Described(
        given=len(smiles),
        canonical=[one for part in parts for one in part.canonical],
        fingerprints=np.concatenate([part.fingerprints for part in parts] or [np.zeros((0, BITS // 8), np.uint8)]),
        fragments=sum((part.fragments for part in parts), Counter()),
        scaffolds=sum((part.scaffolds for part in parts), Counter()),
        properties={
            name: np.concatenate([part.properties[name] for part in parts] or [np.zeros(0)]) for name in PROPERTIES
        },
        passes=np.concatenate([part.passes for part in parts] or [np.zeros(0, bool)]) if filters else None,
    )


def canonical_forms(
    smiles: Sequence[str], *, what: str, progress: Progress, processes: int = -1
) -> Iterator[list[str | None]]:
    """Canonical SMILES in the order given, chunk by chunk; None for what is no molecule. 0.16 ms a molecule."""
    return _each(_canonical_chunk, smiles, what=what, progress=progress, processes=processes, chunk=5000)


def filter_files() -> tuple[Path, Path]:
    """MOSES's two lists of structural alerts as SMARTS: medicinal chemistry filters (22) and PAINS (480).

    Raises:
        ConfigurationError: molsets is not installed.
    """
    found = [
        file_of("molsets", f"moses/metrics/{name}.csv", wanted_by="the metric Filters", install=MOSES)
        for name in ("mcf", "wehi_pains")
    ]
    return found[0], found[1]


def _each(
    function: Callable[..., _Result],
    smiles: Sequence[str],
    *constants: Any,
    what: str,
    progress: Progress,
    processes: int,
    chunk: int = _CHUNK,
) -> Iterator[_Result]:
    """Results for each chunk, in order. Loky's processes neither copy our threads nor run the user's script again."""
    from joblib import Parallel, delayed

    chunks = (list(smiles[at : at + chunk]) for at in range(0, len(smiles), chunk))
    single = len(smiles) <= chunk  # starting processes would take longer
    running = Parallel(n_jobs=1 if single else processes, return_as="generator", pre_dispatch="3*n_jobs")
    done = 0
    progress(what, 0, len(smiles))
    for result in running(delayed(function)(part, *constants) for part in chunks):
        yield result
        done = min(done + chunk, len(smiles))
        progress(what, done, len(smiles))


def parsed(smiles: str) -> Any:
    """The RDKit molecule, or None where the text is none."""
    from rdkit import Chem, rdBase

    if not smiles or smiles.split() != [smiles]:
        return None
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    return molecule if molecule is not None and molecule.GetNumAtoms() else None


def ecfp4(smiles: Sequence[str]) -> Array:
    """The baseline's fingerprints: (molecules, 2048) uint8. All texts must be molecules."""
    import numpy as np
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

    morgan = GetMorganGenerator(radius=baseline.RADIUS, fpSize=baseline.BITS)
    rows = [morgan.GetFingerprintAsNumPy(parsed(one)) for one in smiles]
    return np.array(rows, np.uint8).reshape(-1, baseline.BITS)


def _canonical_chunk(smiles: list[str]) -> list[str | None]:
    from rdkit import Chem

    return [None if (molecule := parsed(one)) is None else Chem.MolToSmiles(molecule) for one in smiles]


def _describe_chunk(smiles: list[str], filters: tuple[Path, Path] | None) -> Described:
    import numpy as np
    from rdkit import Chem, rdBase
    from rdkit.Chem import QED
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator
    from rdkit.Contrib.SA_Score import sascorer

    morgan = GetMorganGenerator(radius=2, fpSize=BITS)
    with rdBase.BlockLogs():
        molecules = [molecule for one in smiles if (molecule := parsed(one)) is not None]
        bits = np.zeros((len(molecules), BITS), np.uint8)
        for place, molecule in enumerate(molecules):
            bits[place] = morgan.GetFingerprintAsNumPy(molecule)
        values = [
            (known.ALOGP, sascorer.calculateScore(molecule), QED.qed(molecule, qedProperties=known), known.MW)  # type: ignore[no-untyped-call]
            for molecule in molecules
            for known in [QED.properties(molecule)]  # type: ignore[no-untyped-call]
        ]
        table = np.array(values, np.float64).reshape(-1, len(PROPERTIES))
        return Described(
            given=len(smiles),
            canonical=[Chem.MolToSmiles(molecule) for molecule in molecules],
            fingerprints=np.packbits(bits, axis=1),
            fragments=Counter(piece for molecule in molecules for piece in fragments(molecule)),
            scaffolds=Counter(found for molecule in molecules if (found := scaffold(molecule)) is not None),
            properties=dict(zip(PROPERTIES, table.T, strict=True)),
            passes=None if filters is None else np.array([passes(m, filters) for m in molecules], bool),
        )


def fragments(molecule: Any) -> list[str]:
    """SMILES of the pieces between BRICS bonds (Degen et al. 2008), the open ends as labelled dummy atoms."""
    from rdkit import Chem

    return Chem.MolToSmiles(Chem.FragmentOnBRICSBonds(molecule)).split(".")


def scaffold(molecule: Any) -> str | None:
    """The Bemis-Murcko scaffold's SMILES; None for one of less than two rings, as MOSES counts them."""
    from rdkit import Chem
    from rdkit.Chem.Scaffolds import MurckoScaffold

    try:
        found = MurckoScaffold.GetScaffoldForMol(molecule)  # type: ignore[no-untyped-call]
    except (ValueError, RuntimeError):
        return None
    if found.GetRingInfo().NumRings() < 2:
        return None
    return Chem.MolToSmiles(found) or None


def passes(molecule: Any, files: tuple[Path, Path]) -> bool:
    """Whether a molecule passes what MOSES's data passed: no alert, charge or ring of 8; of C N S O F Cl Br alone."""
    from rdkit import Chem

    if any(atom.GetFormalCharge() or atom.GetSymbol() not in _ATOMS for atom in molecule.GetAtoms()):
        return False
    if any(len(ring) > _LARGEST_RING for ring in molecule.GetRingInfo().AtomRings()):
        return False
    return not _alerts(files).HasMatch(Chem.AddHs(molecule))


@cache
def _alerts(files: tuple[Path, Path]) -> Any:
    """All alerts as one catalogue. They name hydrogens, so molecules are matched with theirs."""
    from rdkit import Chem
    from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogEntry, SmartsMatcher

    catalogue = FilterCatalog()
    filters, pains = files
    with filters.open(newline="") as lines:
        listed = [(row["names"], row["smarts"]) for row in csv.DictReader(lines)]
    with pains.open(newline="") as lines:
        listed += [(name, smarts.strip()) for smarts, name in csv.reader(lines)]
    for name, smarts in listed:
        catalogue.AddEntry(FilterCatalogEntry(name, SmartsMatcher(name, Chem.MolFromSmarts(smarts), 1)))
    return catalogue
