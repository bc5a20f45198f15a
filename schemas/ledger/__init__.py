"""The ledger: every change of state, one function each, conditional on the state and fence it starts from.

A row's way through it: `corpora` (ensure, append, seal) → `jobs` (open) → `cuts` (cut) → `dispatches` (dispatch) →
`claims` (claim, complete) → `jobs` (finish). `leases` says which process may hold what, `progress` reads how far a job
is. Each function is one transaction and safe to repeat.
"""
