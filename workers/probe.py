"""Whether a device computes at all, found out before its worker takes a batch that would be blamed for it."""

from __future__ import annotations

import faulthandler

UNUSABLE = 69  # exit status of a worker whose device does not compute: EX_UNAVAILABLE
LONGEST = 120.0  # seconds, the import of torch included

_SIDE = 256


def probe(device: str) -> None:
    """Multiply two matrices on a device. A driver that hangs in it ends the process.

    Raises:
        RuntimeError: the device is not there, erred, or computed something else; or whatever torch raises for it.
    """
    faulthandler.dump_traceback_later(LONGEST, exit=True)
    try:
        import torch

        ones = torch.ones(_SIDE, _SIDE, device=device)
        if (total := float((ones @ ones).sum())) != _SIDE**3:
            raise RuntimeError(f"the sum of a product of ones was {total}, not {_SIDE**3}")
    finally:
        faulthandler.cancel_dump_traceback_later()
