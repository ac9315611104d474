"""From a name or a path to a ggml file; the published ones come from a server on the loopback."""

import hashlib
import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from math import prod
from types import SimpleNamespace

import pytest

from nightgate.artifacts.cache import Cache
from nightgate.errors import ArtifactError, InputError, ServiceUnavailable
from nightgate.transcription.models import download, published
from nightgate.transcription.models import resolve as models
from nightgate.transcription.models.ggml_layout import BLOCKS, WHISPER, Hparams, tensor_shapes, tensor_type

CONTENT = os.urandom(100_000)
FILE_TYPES = {"": 1, "q5_0": 8, "q5_1": 9, "q8_0": 7}
LAYERS = {"tiny": 4, "base": 6, "small": 12, "medium": 24, "large": 32}


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A server of the folder it returns; ``requests`` on it is what was asked for."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / "ggml-base.en.bin").write_bytes(CONTENT)
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("NIGHTGATE_MODELS_URL", f"http://127.0.0.1:{server.server_port}/")
    yield asked
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def base_en(monkeypatch):
    """A published model of 100 kB instead of 148 MB; what the file holds is not looked at."""
    sha1 = hashlib.sha1(CONTENT).hexdigest()
    monkeypatch.setitem(published.MODELS, "base.en", published.Published(sha1, len(CONTENT)))
    walked = []
    hparams = SimpleNamespace(n_vocab=51_864, ftype=9)
    monkeypatch.setattr(models, "validate_ggml", lambda path: walked.append(path) or hparams)
    return walked


def test_a_published_model_is_fetched_once(mirror, base_en, cache):
    first = models.resolve("base.en", cache)
    assert first.name == "base.en"
    assert (first.bytes, first.n_vocab, first.ftype) == (len(CONTENT), 51_864, 9)
    assert first.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert base_en == [first.path]
    assert models.resolve("base.en", cache) == first
    assert len(mirror) == 1
    assert cache.damaged() == []


def test_two_that_want_it_at_once_fetch_it_once(mirror, base_en, cache):
    found = []
    threads = [threading.Thread(target=lambda: found.append(models.resolve("base.en", cache))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1] == found[2]
    assert len(mirror) == 1


def test_an_interrupted_download_is_no_artefact_and_is_not_lost(mirror, base_en, cache, monkeypatch):
    def interrupt(_name, _have, _total):
        def advance(_):
            raise KeyboardInterrupt

        return advance

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(download, "_log_lines", interrupt)
        models.resolve("base.en", cache)
    part = cache.root / "downloads" / "ggml-base.en.bin.part"
    assert 0 < part.stat().st_size < len(CONTENT)
    assert cache.entries() == []
    assert models.resolve("base.en", cache).bytes == len(CONTENT)
    assert not part.exists()


def test_a_file_that_is_not_the_published_one_is_never_used(mirror, cache):
    with pytest.raises(ArtifactError, match=published.MODELS["base.en"].sha1):
        models.resolve("base.en", cache)
    assert cache.entries() == []


def test_a_model_that_the_mirror_lacks(mirror, cache):
    with pytest.raises(ServiceUnavailable, match="ggml-small.bin answered 404"):
        models.resolve("small", cache)


def test_a_published_name_comes_before_a_file_of_that_name(mirror, base_en, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.en").write_bytes(b"not this one")
    assert models.resolve("base.en", cache).bytes == len(CONTENT)


@pytest.mark.parametrize(
    ("name", "nearest"), [("tinny.en", "tiny.en"), ("large-v3-turbo-q50", "large-v3-turbo-q5_0"), ("MEDIUM", "medium")]
)
def test_an_unknown_name_gets_the_nearest(name, nearest, cache):
    with pytest.raises(InputError, match=f"did you mean '{nearest}'"):
        models.resolve(name, cache)


@pytest.mark.parametrize("name", ["", "x" * 5000, "a\0b", "/nowhere/ggml-base.bin", "../../etc"])
def test_a_name_that_can_be_none_is_the_users_mistake(name, cache):
    with pytest.raises(InputError):
        models.resolve(name, cache)


def test_a_folder_is_no_model(cache, tmp_path):
    with pytest.raises(InputError, match=r"is a folder\. Next step: give a ggml file"):
        models.resolve(str(tmp_path), cache)


def test_only_the_packaged_model_has_a_ctranslate2_folder(tmp_path):
    assert (models.ctranslate2_folder("tiny.en") / "model.bin").is_file()
    assert models.ctranslate2_folder("base.en") is None
    assert models.ctranslate2_folder(str(tmp_path / "ggml-tiny.en.bin")) is None


def test_addresses(monkeypatch):
    monkeypatch.delenv("NIGHTGATE_MODELS_URL", raising=False)
    assert published.url("tiny.en") == "https://huggingface.co/ggerganov/whisper.cpp/resolve/main/ggml-tiny.en.bin"
    monkeypatch.setenv("NIGHTGATE_MODELS_URL", "http://mirror/models/")
    assert published.url("large-v3-q5_0") == "http://mirror/models/ggml-large-v3-q5_0.bin"


def test_checksums_are_whole_and_differ():
    sums = [model.sha1 for model in published.MODELS.values()]
    assert all(len(bytes.fromhex(sha1)) == 20 for sha1 in sums)
    assert len(set(sums)) == len(sums)


@pytest.mark.parametrize("name", published.NAMES)
def test_the_size_of_a_published_model_follows_from_the_format(name):
    """The bytes of the two vocabularies are taken from tiny.en and tiny."""
    vocabulary = published.MODELS["tiny.en" if ".en" in name else "tiny"].size
    vocabulary -= size_without_vocabulary("tiny.en" if ".en" in name else "tiny")
    assert published.MODELS[name].size == size_without_vocabulary(name) + vocabulary


def size_without_vocabulary(name):
    base, _, kind = name.partition("-q")
    layers = LAYERS[base.split("-")[0].removesuffix(".en")]
    state, third = WHISPER.states[layers], "v3" in base
    hparams = Hparams(
        n_vocab=51_864 if base.endswith(".en") else 51_866 if third else 51_865,
        n_audio_ctx=1500,
        n_audio_state=state,
        n_audio_head=state // 64,
        n_audio_layer=layers,
        n_text_ctx=448,
        n_text_state=state,
        n_text_head=state // 64,
        n_text_layer=4 if "turbo" in base else layers,
        n_mels=128 if third else 80,
        ftype=FILE_TYPES["q" + kind if kind else ""],
    )
    size = 12 * 4 + 8 + 4 * hparams.n_mels * 201
    for tensor, shape in tensor_shapes(hparams).items():
        values, block = BLOCKS[tensor_type(tensor, shape, hparams.ftype)]
        size += 12 + 4 * len(shape) + len(tensor) + prod(shape) // values * block
    return size
