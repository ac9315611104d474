"""A reader of whisper.cpp's ggml files that shares nothing with the product's."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

TYPES = {0: "<f4", 1: "<f2"}


class GgmlFile:
    """A second reader, written from the format's description: it knows nothing of what ought to be there."""

    def __init__(self, path):
        self.data, self.position = Path(path).read_bytes(), 0
        self.magic, *self.hparams = self.ints(12)
        self.mel_at = self.position + 8
        self.mel = self.array("<f4", self.ints(2))
        self.tokens_at = self.position + 4
        self.tokens = [self.bytes(self.ints(1)[0]) for _ in range(self.ints(1)[0])]
        self.records_at = self.position
        self.tensors, self.spans = {}, {}
        while self.position < len(self.data):
            start = self.position
            n_dims, length, kind = self.ints(3)
            dims = self.ints(n_dims)
            name = self.bytes(length).decode()
            assert name not in self.tensors
            self.tensors[name] = self.array(TYPES[kind], dims[::-1])
            self.spans[name] = (start, self.position)

    def bytes(self, count):
        self.position += count
        return self.data[self.position - count : self.position]

    def ints(self, count):
        return struct.unpack(f"<{count}i", self.bytes(4 * count))

    def array(self, dtype, shape):
        return np.frombuffer(self.bytes(np.dtype(dtype).itemsize * int(np.prod(shape))), dtype).reshape(shape)
