"""The ways to answer a query: those here and those that other packages bring, by variant and device.

Each module here holds one `Strategy` and, where it has an index of its own, how that is built.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from nightgate import plugins
from nightgate.errors import Unavailable
from nightgate.record import Device
from nightgate.vector_search.strategy import Strategy, missing


@cache
def known() -> dict[str, dict[Device, type[Strategy]]]:
    """Variant → device → the strategy that is measured for it there."""
    found: dict[str, dict[Device, type[Strategy]]] = {}
    strategies: dict[str, Any] = plugins.load(plugins.STRATEGIES, Strategy)
    for value in strategies.values():
        strategy: type[Strategy] = value if isinstance(value, type) else type(value)
        for device in strategy.devices:
            found.setdefault(strategy.variant or strategy.name, {}).setdefault(device, strategy)
    return found


def on(device: Device, variant: str) -> type[Strategy]:
    """The strategy that is measured for ``variant`` on ``device``."""
    return known()[variant][device]


def made_for(variant: str, device: Device) -> bool:
    """Whether ``variant`` can run on such a device at all, installed or not."""
    return device in known()[variant]


def unavailable(variant: str, device: Device) -> Unavailable | None:
    """Why ``variant`` cannot be measured here on ``device``, or None. Whether there is such a device is not asked."""
    if not made_for(variant, device):
        return Unavailable(f"{variant} does not run on a {device}")
    package = missing(on(device, variant).requires)
    if package is None:
        return None
    return Unavailable(f"{variant} needs the package {package}", f"install it: pip install {package}")
