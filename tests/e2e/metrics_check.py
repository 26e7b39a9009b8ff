"""Reads a page of metrics from standard input as scrapers do, and prints the names of its samples."""

import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

names = set()
for family in text_string_to_metric_families(sys.stdin.read()):
    if not family.documentation:
        sys.exit(f"{family.name} says nothing of itself")
    names.update(sample.name for sample in family.samples)
print("\n".join(sorted(names)))
