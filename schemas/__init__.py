"""What is true for both sides: items, outcomes, messages, settings, tables and the ledger."""
