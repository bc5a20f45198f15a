"""One small file a format; `open.py` chooses by name."""
