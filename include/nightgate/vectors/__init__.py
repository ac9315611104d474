"""What both vector benchmarks share: data, exact neighbours, recall, tuning to a target."""
