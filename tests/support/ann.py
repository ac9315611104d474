"""The hybrid's benchmark as the steps call it, and strategies opened on indexes of their own."""

from __future__ import annotations

from nightgate.benchmark import Context
from nightgate.hybrid_ann.plugin import BENCHMARK


def prepare(settings, device, cache):
    return BENCHMARK.prepare(settings, Context(device, cache))


def measure(settings, device, prepared, samples):
    return BENCHMARK.measure(settings, prepared, Context(device, None, samples=samples))


def build(kind, base, metric, folder, *, threads=1, **parameters):
    """The folders of the indexes that a strategy of ``kind`` reads, built in ``folder``."""
    folders = []
    for index in kind.indexes():
        own = {name: parameters[name] for name in index.parameters}
        folders.append(folder / index.name)
        folders[-1].mkdir()
        if index.train:
            trained = folder / f"{index.name}-trained"
            trained.mkdir()
            index.train(trained, base, metric, threads=threads, **own)
            own = {"trained": trained}
        index.build(folders[-1], base, metric, threads=threads, **own)
    return folders


def opened(kind, base, metric, folder, **given):
    """A strategy of ``kind`` on indexes that are built in ``folder``; see `build`."""
    return kind.open(build(kind, base, metric, folder, **given), base, metric)
