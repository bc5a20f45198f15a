"""The side that takes corpora in: readers, loading, the dispatcher, embedded servers and reporting."""
