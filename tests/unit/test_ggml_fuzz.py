"""Ten thousand damaged models: each is accepted or refused with a typed error, in bounded time and memory."""

import random
import struct
import tracemalloc
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from nightgate.errors import ArtifactError
from nightgate.transcription.models import ggml
from nightgate.transcription.models.ggml_layout import Family, Hparams, tensor_shapes

FAMILY = Family(n_vocab=(7,), base_tokens=3, n_audio_ctx=5, n_text_ctx=6, n_mels=(4,), head_width=8, states={2: 16})
TINY = Hparams(7, 5, 16, 2, 2, 6, 16, 2, 1, 4, 1)
TOKENS = [b"a", b" ", b"bc", b""]
EXTREME = [0, 1, -1, 2, 3, 255, 256, 257, 1 << 16, (1 << 31) - 1, -(1 << 31), 0x67676D6C]
INPUTS = 10_000


def numbers(whole):
    """Where every int32 of the file stands, and where its records begin and end."""
    places = list(range(0, 56, 4))
    position = 56 + 4 * 4 * 201
    places.append(position)
    position += 4
    for token in TOKENS:
        places.append(position)
        position += 4 + len(token)
    records = []
    while position < len(whole):
        start = position
        n_dims, length, kind = struct.unpack_from("<3i", whole, position)
        dims = struct.unpack_from(f"<{n_dims}i", whole, position + 12)
        places += range(position, position + 12 + 4 * n_dims, 4)
        position += 12 + 4 * n_dims + length + (2 if kind else 4) * int(np.prod(dims))
        records.append((start, position))
    return places, records


def damage(whole, places, records, dice):
    """One kind of damage and its name."""
    data = bytearray(whole)
    kind = dice.choice(["bits", "header bits", "number", "cut", "insert", "remove", "swap", "double", "drop", "bytes"])
    if kind == "bits":
        for _ in range(dice.randint(1, 8)):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    elif kind == "header bits":
        data[dice.randrange(60)] ^= 1 << dice.randrange(8)
    elif kind == "number":
        for _ in range(dice.choice([1, 1, 1, 2])):
            struct.pack_into(
                "<i", data, dice.choice(places), dice.choice([*EXTREME, dice.randint(-(1 << 31), (1 << 31) - 1)])
            )
    elif kind == "cut":
        del data[dice.randrange(len(data)) :]
    elif kind == "insert":
        place = dice.choice([dice.randrange(len(data)), dice.choice(places)])
        data[place:place] = dice.randbytes(dice.randint(1, 40))
    elif kind == "remove":
        place = dice.choice([dice.randrange(len(data)), dice.choice(places)])
        del data[place : place + dice.randint(1, 40)]
    elif kind == "bytes":
        place = dice.randrange(len(data))
        data[place : place + 16] = dice.randbytes(16)
    else:
        (a, b), (c, d) = sorted(dice.sample(records, 2))
        parts = {"swap": [(c, d), (b, c), (a, b)], "double": [(a, b), (a, b), (b, d)], "drop": [(b, d)]}[kind]
        data[a:d] = b"".join(whole[start:end] for start, end in parts)
    return kind, bytes(data)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "whole.bin"
    dice = np.random.default_rng(5)
    tensors = {name: dice.standard_normal(shape) for name, shape in tensor_shapes(TINY).items()}
    ggml.write_ggml(path, TINY, dice.random((4, 201)), TOKENS, tensors)
    return path.read_bytes()


@pytest.fixture
def write(tmp_path):
    """Writes one file anew each time; kept open, as some file systems flush a file that was cut to nothing and closed."""
    with open(tmp_path / "damaged.bin", "wb", buffering=0) as file:

        def write(data):
            file.seek(0)
            file.write(data)
            file.truncate()
            return tmp_path / "damaged.bin"

        yield write


@pytest.fixture
def reads(monkeypatch):
    """Counts what the reader asks of the file: a measure of its work that no other process disturbs."""
    sizes = []

    def pread(file, count, position):
        sizes.append(count)
        return os_pread(file, count, position)

    os_pread = ggml.os.pread
    monkeypatch.setattr(ggml.os, "pread", pread)
    return sizes


def test_damaged_models(whole, write, reads):
    dice, outcomes = random.Random(20_260_101), Counter()
    places, records = numbers(whole)
    assert len(records) == len(tensor_shapes(TINY))
    for _ in range(INPUTS):
        kind, data = damage(whole, places, records, dice)
        path = write(data)
        reads.clear()
        try:
            hparams = ggml.validate_ggml(path, FAMILY)
        except ArtifactError as error:  # any other exception fails the test
            assert str(path) in error.what
            assert error.next_step
            outcomes[kind, "refused"] += 1
        else:
            assert replace(hparams, ftype=hparams.ftype % 1000) == TINY
            outcomes[kind, "accepted"] += 1
        assert len(reads) <= 3 * len(records) + 2 * FAMILY.n_vocab[0] + 10
        assert max(reads, default=0) <= 1024
    # damage to the weights cannot be seen here, and the order of records is free; all else is refused
    assert {kind for kind, outcome in outcomes if outcome == "accepted"} == {
        "bits",
        "bytes",
        "header bits",
        "number",
        "swap",
    }
    assert outcomes["swap", "refused"] == 0
    assert sum(count for (_, outcome), count in outcomes.items() if outcome == "refused") > INPUTS / 2


def test_no_number_in_a_file_makes_the_reader_ask_for_much_memory(whole, write):
    places, _ = numbers(whole)
    tracemalloc.start()
    try:
        for place in places[:40]:
            for number in EXTREME:
                data = bytearray(whole)
                struct.pack_into("<i", data, place, number)
                path = write(data)
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
                with suppress(ArtifactError):
                    ggml.validate_ggml(path, FAMILY)
                assert tracemalloc.get_traced_memory()[1] - before < 1_000_000
    finally:
        tracemalloc.stop()
