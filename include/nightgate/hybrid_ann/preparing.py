"""Data, exact neighbours and indexes of the hybrid ANN benchmark, built when they are missing."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from nightgate.benchmark import Context
from nightgate.errors import NightgateError, NotMeasured, Unavailable
from nightgate.hybrid_ann import strategies
from nightgate.hybrid_ann.indexes import BuiltIndex, build_anew, build_index
from nightgate.hybrid_ann.prepared import HybridPrepared
from nightgate.hybrid_ann.settings import Settings
from nightgate.measure import devices
from nightgate.measure.child import run_child
from nightgate.record import Device
from nightgate.vector_search.strategy import Index, Strategy
from nightgate.vectors import data

log = logging.getLogger(__name__)


def prepare(settings: Settings, context: Context) -> HybridPrepared:
    """See `HybridAnn.prepare`."""
    device = context.device
    missing = _missing(settings, device)
    _refuse_nothing(settings, device, missing)
    found = data.prepare(context.cache, source=settings.source, threads=settings.cores)
    chosen = {
        variant: strategies.on(device, variant)
        for variant in (*settings.gated(device), *settings.beside(device))
        if variant not in missing
    }
    indexes: dict[str, BuiltIndex] = {}
    failed: dict[str, str] = {}
    gated = _indexes({variant: chosen[variant] for variant in settings.gated(device) if variant in chosen})
    tidy(context)
    for name, index in _indexes(chosen).items():
        try:
            if context.fresh and name in gated:
                seed = 1 + context.fresh  # 1 is what all others are built with
                indexes[name] = build_anew(index, found, settings.parameters, scratch(context), seed)
            else:
                indexes[name] = build_index(index, found, settings.parameters, context.cache)
        except Unavailable as error:
            missing |= {variant: error for variant, strategy in chosen.items() if index in strategy.indexes()}
        except Exception as error:  # whatever it is, the strategies that do not read this index are measured
            failed[name] = f"the index {name} was not built: {str(error) or type(error).__name__}"
            log.error("%s", failed[name], exc_info=not isinstance(error, NightgateError))
    _refuse_nothing(settings, device, missing)
    said = {variant: str(error) for variant, error in missing.items()}
    return HybridPrepared(**dict(found), indexes=indexes, failed=failed, missing=said)


def scratch(context: Context) -> Path:
    """Where indexes lie that are built anew for one measurement."""
    return context.samples.with_name(f"{context.samples.stem}-indexes").absolute()


def tidy(context: Context) -> None:
    """Remove what was built anew for one measurement."""
    if context.fresh:
        shutil.rmtree(scratch(context), ignore_errors=True)


def see_gpu(variants: Sequence[str]) -> dict[str, Unavailable]:
    """Why a variant cannot run on the GPU of this host, for each that cannot; in a child, so that the parent loads no CUDA
    library."""
    missing = {}
    for variant in variants:
        try:
            log.info("%s on a gpu: %s", variant, strategies.on("gpu", variant).see_device())
        except Unavailable as error:
            missing[variant] = error
    return missing


def _indexes(chosen: Mapping[str, type[Strategy]]) -> dict[str, Index]:
    """Each index that one of the strategies reads, once, by name."""
    return {index.name: index for strategy in chosen.values() for index in strategy.indexes()}


def _missing(settings: Settings, device: Device) -> dict[str, Unavailable]:
    """Why a variant cannot be measured on this host, for each that cannot."""
    if device == "gpu":
        devices.required("measure hybrid_ann on the cpu, or run on a host with one")
    variants = (*settings.gated(device), *settings.beside(device))
    missing = {variant: error for variant in variants if (error := strategies.unavailable(variant, device))}
    left = [variant for variant in variants if variant not in missing]
    if device == "gpu" and left:
        missing |= run_child(see_gpu, left, threads=1, device="gpu").value
    return missing


def _refuse_nothing(settings: Settings, device: Device, missing: Mapping[str, Unavailable]) -> None:
    """Raise when no gated strategy can be measured; on a GPU a control is enough, for there a gated one may be skipped."""
    gated = settings.gated(device)
    enough = gated if device == "cpu" else (*gated, *settings.beside(device))
    if all(variant in missing for variant in enough):
        reason = "; ".join(dict.fromkeys(str(missing[variant]) for variant in gated))
        raise Unavailable(reason) if device == "gpu" else NotMeasured(reason)
