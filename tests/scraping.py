"""What Prometheus would read from a process's metrics."""

from __future__ import annotations

import urllib.request

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


def scrape(port: int) -> list[Sample]:
    """All samples that are served on that port of this machine."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return [sample for family in families for sample in family.samples]


def by_labels(samples: list[Sample]) -> dict[tuple[str, ...], float]:
    """Each sample's value by its name and, in the order of their names, its labels' values."""
    return {(s.name, *(s.labels[label] for label in sorted(s.labels))): s.value for s in samples}
