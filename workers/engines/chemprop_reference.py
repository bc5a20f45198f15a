"""Approved drugs as the yardstick of a predicted value: which share of them lies below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from schemas.errors import ModelUnavailable


class Reference:
    """The sorted values of a reference set, endpoint by endpoint."""

    def __init__(self, file: Path, endpoints: Sequence[str]) -> None:
        """Read the reference set, a CSV with a column for each endpoint.

        Raises:
            ModelUnavailable: a column is missing or has gaps, so that ranks in it would mislead.
        """
        table = pd.read_csv(file, usecols=lambda column: column in set(endpoints))
        for name in endpoints:
            if name not in table or table[name].isna().any():
                raise ModelUnavailable(f"the reference set {file.name} lacks values of '{name}'")
        self._sorted = [np.sort(table[name].to_numpy(dtype=np.float64)) for name in endpoints]

    def percentiles(self, values: Any) -> Any:
        """Ranks in percent, 0 to 100, of values (rows, endpoints) as float64; NaN stays NaN.

        Equal to `scipy.stats.percentileofscore` with its default kind, rank: a value that occurs in the reference
        gets the mean rank of its equals.
        """
        ranks = np.empty(values.shape)
        for column, reference in enumerate(self._sorted):
            below = np.searchsorted(reference, values[:, column], side="left")
            within = np.searchsorted(reference, values[:, column], side="right")
            ranks[:, column] = (below + within + (within > below)) * (50.0 / len(reference))
        ranks[np.isnan(values)] = np.nan
        return ranks
