"""Arrays on a device: numpy, torch and cupy by the same few calls, so that one text of a search runs on each.

What the three call alike (``xp.matmul``, ``xp.where``, ``xp.einsum`` …) is called on `Arrays.xp`; what they do not is a
method here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightgate.errors import NotMeasured, Unavailable

if TYPE_CHECKING:
    import numpy as np

    from nightgate.record import Device

Array = Any
"""A numpy array, a torch tensor or a cupy array: the three share no type."""

_SCORES = 2**27  # on a device at once: 512 MB of float32, so that few calls do all the work
_PROBE = 256  # rows of the product that shows in which precision a device multiplies


class Arrays:
    """numpy's, on the CPU."""

    name = "numpy"
    on_gpu = False

    def __init__(self) -> None:
        import numpy

        self.xp: Any = numpy

    def put(self, array: Array) -> Array:
        """``array`` where the computing is done, of the same type: a copy, unless it is there."""
        return array

    def get(self, array: Array) -> np.ndarray:
        """``array`` in the host's memory, when it is computed."""
        there: np.ndarray = array
        return there

    def dtype(self, name: Any) -> Any:
        """The library's own type for a numpy type."""
        return name

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        return self.xp.empty(shape, dtype=self.dtype(dtype))

    def full(self, shape: tuple[int, ...], value: float, dtype: Any) -> Array:
        return self.xp.full(shape, value, dtype=self.dtype(dtype))

    def arange(self, stop: int) -> Array:
        return self.xp.arange(stop)

    def flatnonzero(self, mask: Array) -> Array:
        return self.xp.flatnonzero(mask)

    def largest(self, rows: Array, count: int) -> Array:
        """The columns of the ``count`` largest in each of ``rows`` (n, m), in no order: int64 (n, count)."""
        return self.xp.argpartition(rows, -count, axis=1)[:, -count:]

    def sort(self, rows: Array) -> Array:
        return self.xp.sort(rows, axis=1)

    def argsort(self, rows: Array) -> Array:
        """The columns that put each of ``rows`` (n, m) into ascending order, equal ones as they stand."""
        return self.xp.argsort(rows, axis=1, kind="stable")

    def take(self, rows: Array, columns: Array) -> Array:
        """Of each of ``rows`` (n, m) what stands in its ``columns`` (n, k)."""
        return self.xp.take_along_axis(rows, columns, axis=1)

    def block(self, count: int) -> tuple[int, int] | None:
        """How many rows to score first and later for ``count`` queries, or None: as suits the caches of a CPU."""
        return None

    def synchronize(self) -> None:
        """Return when all that was asked of the device is done."""

    def free_bytes(self) -> int:
        """What the device has left for copies of what the host holds: on the CPU nothing is copied."""
        return 0

    def facts(self) -> dict[str, str]:
        """The library, its version and the device."""
        return {"name": "cpu", "arrays": f"{self.name} {self.xp.__version__}"}


class _Cupy(Arrays):
    name = "cupy"
    on_gpu = True

    def __init__(self) -> None:
        import cupy

        self.xp = cupy
        _multiplies_float32(self)

    def put(self, array: Array) -> Array:
        return self.xp.asarray(array)

    def get(self, array: Array) -> np.ndarray:
        there: np.ndarray = self.xp.asnumpy(array)
        return there

    def block(self, count: int) -> tuple[int, int] | None:
        # its argpartition sorts: blocks that grow keep the first of them, which is sorted whole, short
        return 1024, max(1024, _SCORES // count)

    def synchronize(self) -> None:
        self.xp.cuda.get_current_stream().synchronize()

    def free_bytes(self) -> int:
        return int(self.xp.cuda.runtime.memGetInfo()[0])

    def facts(self) -> dict[str, str]:
        properties = self.xp.cuda.runtime.getDeviceProperties(self.xp.cuda.runtime.getDevice())
        return {"name": properties["name"].decode(), "arrays": f"cupy {self.xp.__version__}"}


class Torch(Arrays):
    """torch's, on ``device``: ``"cuda"``, or ``"cpu"``, where the same lines run as on a GPU."""

    name = "torch"

    def __init__(self, device: str = "cuda") -> None:
        import torch

        self.xp = torch
        self._device = torch.device(device)
        self.on_gpu = self._device.type == "cuda"
        torch.set_float32_matmul_precision("highest")
        _multiplies_float32(self)

    def put(self, array: Array) -> Array:
        if isinstance(array, self.xp.Tensor):
            return array.to(self._device)
        # `tensor` copies, so that no memory of a file that is mapped is shared and written to
        return self.xp.tensor(array, device=self._device)

    def get(self, array: Array) -> np.ndarray:
        there: np.ndarray = array.cpu().numpy()
        return there

    def dtype(self, name: Any) -> Any:
        import numpy as np

        return getattr(self.xp, np.dtype(name).name)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        return self.xp.empty(shape, dtype=self.dtype(dtype), device=self._device)

    def full(self, shape: tuple[int, ...], value: float, dtype: Any) -> Array:
        return self.xp.full(shape, value, dtype=self.dtype(dtype), device=self._device)

    def arange(self, stop: int) -> Array:
        return self.xp.arange(stop, device=self._device)

    def flatnonzero(self, mask: Array) -> Array:
        return self.xp.nonzero(mask.reshape(-1)).reshape(-1)

    def largest(self, rows: Array, count: int) -> Array:
        return self.xp.topk(rows, count, dim=1, sorted=False).indices

    def sort(self, rows: Array) -> Array:
        return self.xp.sort(rows, dim=1).values

    def argsort(self, rows: Array) -> Array:
        return self.xp.argsort(rows, dim=1, stable=True)

    def take(self, rows: Array, columns: Array) -> Array:
        return self.xp.take_along_dim(rows, columns, dim=1)

    def block(self, count: int) -> tuple[int, int] | None:
        rows = max(1024, _SCORES // count)
        return rows, rows  # its topk selects without sorting, so that the first may be as long as the others

    def synchronize(self) -> None:
        if self.on_gpu:
            self.xp.cuda.synchronize(self._device)

    def free_bytes(self) -> int:
        if self.on_gpu:
            return int(self.xp.cuda.mem_get_info(self._device)[0])
        return super().free_bytes()

    def facts(self) -> dict[str, str]:
        name = self.xp.cuda.get_device_name(self._device) if self.on_gpu else "cpu"
        return {"name": name, "arrays": f"torch {self.xp.__version__}"}


def on(device: Device) -> Arrays:
    """The arrays of ``device``: numpy's on ``"cpu"``; on ``"gpu"`` torch's, or cupy's where torch is not there.

    Raises:
        Unavailable: there is neither, or neither sees a device.
        NotMeasured: the library multiplies float32 in something shorter.
    """
    if device == "cpu":
        return Arrays()
    missing = []
    for name, sees_device, make in (("torch", _torch_sees, Torch), ("cupy", _cupy_sees, _Cupy)):
        try:
            if sees_device():
                return make()
            missing.append(f"{name} sees no CUDA device")
        except ImportError:
            missing.append(f"{name} is not installed")
    raise Unavailable(
        f"vectors cannot be compared on a GPU: {' and '.join(missing)}",
        "install torch, or cupy with `make setup-gpu`, and see that it fits the driver",
    )


def _torch_sees() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _cupy_sees() -> bool:
    import cupy

    return bool(cupy.is_available())


def _multiplies_float32(arrays: Arrays) -> None:
    """Refuse TF32, which rounds what is multiplied to 11 bits: no bound of float32 holds of it.

    1 + 2⁻¹² is a float32 and no TF32, so multiplied by one it stays what it is or becomes 1.
    """
    import numpy as np

    probe = np.full((_PROBE, _PROBE), 1 + 2.0**-12, np.float32)
    product = arrays.get(arrays.xp.matmul(arrays.put(probe), arrays.put(np.eye(_PROBE, dtype=np.float32))))
    if not np.array_equal(product, probe):
        raise NotMeasured(
            f"{arrays.name} multiplies float32 in a shorter type here, so nothing that it finds would be proven",
            "unset TORCH_ALLOW_TF32_CUBLAS_OVERRIDE and CUPY_TF32",
        )
