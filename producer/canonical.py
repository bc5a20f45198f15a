"""A process that turns SMILES into the keys of their molecules: `python -m producer.canonical`.

RDKit holds the interpreter's lock while it reads a SMILES, so threads would not share the work. A request is a line
with a number and as many lines of SMILES; the reply is eight bytes for each, those of `FAILED` where RDKit cannot read
it.
"""

from __future__ import annotations

import signal
import sys

from producer.yields import FAILED, key_of


def main() -> None:
    """Answer requests until standard input ends."""
    from rdkit import Chem, rdBase

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; who asks decides when to end
    rdBase.DisableLog("rdApp.*")
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    while number := requests.readline():
        for _ in range(int(number)):
            molecule = Chem.MolFromSmiles(requests.readline().decode().strip())
            # The same words as a worker's (`workers.annotate`), so that both name a molecule alike.
            known = molecule is not None and molecule.GetNumAtoms() > 0
            replies.write((key_of(Chem.MolToSmiles(molecule)) if known else FAILED).to_bytes(8, sys.byteorder))
        replies.flush()


if __name__ == "__main__":
    main()
