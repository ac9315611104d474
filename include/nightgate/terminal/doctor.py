"""`nightgate doctor`: can this host run a night?"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement

from nightgate import paths, registry
from nightgate.artifacts import Cache
from nightgate.benchmark import Benchmark
from nightgate.errors import NightgateError
from nightgate.measure import host
from nightgate.publish import figures
from nightgate.record import Host
from nightgate.suite import SCALES, BenchmarkSettings, Needs, load_suite
from nightgate.terminal import plugins

_BY_MODULE = {"faiss-cpu": "faiss"}
"""Packages in whose place another may bring the same module, as faiss-gpu does."""


def findings() -> Iterator[tuple[bool, str]]:
    """(is it fine, what was found) for each thing a night needs."""
    facts = host.describe()
    yield sys.version_info >= (3, 11), f"Python {sys.version.split()[0]}"
    yield True, f"{facts.cores} cores, {facts.memory_bytes / 2**30:.0f} GiB, {facts.cpu}, host {facts.fingerprint}"
    yield _quiet()
    yield _gpu(facts)
    missing = _missing()
    yield not missing, f"packages: {'missing ' + ', '.join(missing) + '; run `make setup`' if missing else 'all there'}"
    setpriv = shutil.which("setpriv")
    yield bool(setpriv), f"setpriv: {setpriv or 'missing; install util-linux'}"
    yield _environment()
    yield _plugins()
    for benchmark in registry.installed().values():
        yield from _of(benchmark)
    yield _cache()
    try:
        free = shutil.disk_usage(paths.home()).free
        yield True, f"NIGHTGATE_HOME {paths.home()}, {free / 1e9:.0f} GB free"
        for scale in SCALES:
            suite = load_suite(paths.suite_file(), registry.installed(), scale)
            needs = [_needs(name, suite.settings[name]) for name in suite.nightly]
            disk, memory = sum(n.disk for n in needs), max(n.memory for n in needs)
            fits = free > disk and facts.memory_bytes > memory
            yield fits, f"scale {scale}: up to {disk / 1e9:.1f} GB of disk and {memory / 2**30:.1f} GiB of memory"
    except NightgateError as error:
        yield False, str(error)


def _needs(name: str, settings: BenchmarkSettings) -> Needs:
    known = registry.named(name)
    return known.needs(settings, known.look(settings, os.environ))


def _missing() -> list[str]:
    """The packages that this one requires here and that are not installed."""
    required = (Requirement(text) for text in metadata.requires("nightgate") or ())
    here = [each.name for each in required if not each.marker or each.marker.evaluate({"extra": ""})]
    return [name for name in here if not _is_there(name)]


def _is_there(package: str) -> bool:
    if module := _BY_MODULE.get(package):
        return importlib.util.find_spec(module) is not None
    return any(metadata.distributions(name=package))


def _gpu(facts: Host) -> tuple[bool, str]:
    skips = "" if facts.gpu or facts.gpu_fault else ", so the GPU tasks skip"
    return not facts.gpu_fault, f"GPU: {figures.gpu_text(facts)}{skips}"


def _quiet() -> tuple[bool, str]:
    """How the host is now. That others are at work just now hinders no night, so it is no fault of the host."""
    try:
        home = paths.home()
    except NightgateError as error:
        return False, f"host: {error}"
    now, known = host.look(home), host.known(home)
    state = f"not quiet now: {now.disturbed}" if now.disturbed else "quiet now"
    history = f"{len(known)} quiet measurements known" if known else "no quiet measurement known so far"
    speed = f", {now.at_full_speed:.0%} of the time at its fastest" if known else ""
    return True, f"host: {state} ({host.told(now)}); {history}{speed}"


def _of(benchmark: Benchmark[Any, Any]) -> list[tuple[bool, str]]:
    try:
        return list(benchmark.findings(os.environ))
    except Exception as error:  # of one benchmark, which hides no other
        return [(False, f"{benchmark.title}: {type(error).__name__}: {error}")]


def _plugins() -> tuple[bool, str]:
    installed = plugins.found()
    wrong = plugins.faults(installed)
    return not wrong, f"plug-ins: {'; '.join(wrong) or f'{len(installed)}, all usable'}"


def _environment() -> tuple[bool, str]:
    try:
        paths.check_environment()
    except NightgateError as error:
        return False, f"environment: {error}"
    own = [name for name in paths.VARIABLES if os.environ.get(name)]
    return True, f"environment: {', '.join(own) or 'none of the variables of Nightgate is set'}"


def _cache() -> tuple[bool, str]:
    """Its limit, and whether what several hosts share answers."""
    try:
        cache = Cache(paths.cache_dir())
        cache.check_servers()
    except NightgateError as error:
        return False, f"cache: {error}"
    limit, url, redis = cache.settings.limit, cache.settings.url, cache.settings.redis_url
    return True, (
        f"cache: {f'up to {limit / 1e9:.1f} GB' if limit else 'no limit'}, "
        f"{'a shared store' if url else 'not shared'}, builders take turns over {'Redis' if redis else 'files of this host'}"
    )
