"""Raw samples, kept beside the record that was estimated from them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.errors import ArtifactError
from nightgate.files import whole

if TYPE_CHECKING:
    import numpy as np

# what numpy, zipfile and zlib raise on 40,000 mutated files, and on a file that is no .npz at all
_TORN = (OSError, ValueError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)
_NO_ARCHIVE = (TypeError, AttributeError)


def save(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write ``arrays`` as a compressed ``.npz``, whole or not at all. Keys are ``<variant>/<name>``."""
    import numpy as np

    file.parent.mkdir(parents=True, exist_ok=True)
    with whole(file) as out:
        np.savez_compressed(out, allow_pickle=False, **arrays)


def read(file: Path, variant: str) -> dict[str, np.ndarray]:
    """The arrays of one variant by their names without the variant; empty when the file has none of it.

    Raises:
        ArtifactError: there is no such file, or it is torn.
    """
    import numpy as np

    prefix = f"{variant}/"
    try:
        with open(file, "rb") as content, np.load(content) as arrays:  # numpy leaves open what it cannot read
            return {name.removeprefix(prefix): arrays[name] for name in arrays.files if name.startswith(prefix)}
    except FileNotFoundError:
        raise ArtifactError(f"there are no samples {file}", "measure again to have them") from None
    except (*_TORN, *_NO_ARCHIVE) as error:
        raise ArtifactError(f"the samples {file} are torn ({error})", "measure again to have them") from error
