"""Tests of sciqueue. A package of its own: some distributions install a `tests` beside their own code."""
