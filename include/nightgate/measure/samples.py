"""Raw samples, kept beside the record that was estimated from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def save(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write ``arrays`` as a compressed ``.npz``, whole or not at all. Keys are ``<variant>/<name>``."""
    import numpy as np

    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(file.name + ".tmp")
    with open(draft, "wb") as out:
        np.savez_compressed(out, **arrays)
    draft.rename(file)
