"""The side that computes: the Celery app, the batcher, preparation, devices and engines."""
