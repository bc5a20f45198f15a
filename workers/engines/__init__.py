"""One file a kind of model; `contract.py` says what each must do."""
