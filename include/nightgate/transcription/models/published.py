"""The ggml models that whisper.cpp publishes: their names, checksums, sizes and addresses. Light: a form is built from it.

The checksums stand in `models/README.md` of ggml-org/whisper.cpp and, for the quantised ones, in the card of the model
repository it points to. The sizes follow from the format and are tested against it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

PACKAGED: Final = "tiny.en"
"""Made from the weights in a Python package, never fetched."""

MIRROR_VARIABLE: Final = "NIGHTGATE_MODELS_URL"
_HOME: Final = "https://huggingface.co/ggerganov/whisper.cpp/resolve/main"


@dataclass(frozen=True, slots=True)
class Published:
    """One file: its SHA-1 (hex) and its size in bytes."""

    sha1: str
    size: int


MODELS: Final = {
    "tiny": Published("bd577a113a864445d4c299885e0cb97d4ba92b5f", 77_691_713),
    "tiny-q5_1": Published("2827a03e495b1ed3048ef28a6a4620537db4ee51", 32_152_673),
    "tiny-q8_0": Published("19e8118f6652a650569f5a949d962154e01571d9", 43_537_433),
    "tiny.en": Published("c78c86eb1a8faa21b369bcd33207cc90d64ae9df", 77_704_715),
    "tiny.en-q5_1": Published("3fb92ec865cbbc769f08137f22470d6b66e071b6", 32_166_155),
    "tiny.en-q8_0": Published("802d6668e7d411123e672abe4cb6c18f12306abb", 43_550_795),
    "base": Published("465707469ff3a37a2b9b8d8f89f2f99de7299dac", 147_951_465),
    "base-q5_1": Published("a3733eda680ef76256db5fc5dd9de8629e62c5e7", 59_707_625),
    "base-q8_0": Published("7bb89bb49ed6955013b166f1b6a6c04584a20fbe", 81_768_585),
    "base.en": Published("137c40403d78fd54d454da0f9bd998f78703390c", 147_964_211),
    "base.en-q5_1": Published("d26d7ce5a1b6e57bea5d0431b9c20ae49423c94a", 59_721_011),
    "base.en-q8_0": Published("bb1574182e9b924452bf0cd1510ac034d323e948", 81_781_811),
    "small": Published("55356645c2b361a969dfd0ef2c5a50d530afd8d5", 487_601_967),
    "small-q5_1": Published("6fe57ddcfdd1c6b07cdcc73aaf620810ce5fc771", 190_085_487),
    "small-q8_0": Published("bcad8a2083f4e53d648d586b7dbc0cd673d8afad", 264_464_607),
    "small.en": Published("db8a495a91d927739e50b3fc1cc4c6b8f6c2d022", 487_614_201),
    "small.en-q5_1": Published("20f54878d608f94e4a8ee3ae56016571d47cba34", 190_098_681),
    "small.en-q8_0": Published("9d75ff4ccfa0a8217870d7405cf8cef0a5579852", 264_477_561),
    "medium": Published("fd9727b6e1217c2f614f9b698455c4ffd82463b4", 1_533_763_059),
    "medium-q5_0": Published("7718d4c1ec62ca96998f058114db98236937490e", 539_212_467),
    "medium-q8_0": Published("e66645948aff4bebbec71b3485c576f3d63af5d6", 823_369_779),
    "medium.en": Published("8c30f0e44ce9560643ebd10bbe50cd20eafd3723", 1_533_774_781),
    "medium.en-q5_0": Published("bb3b5281bddd61605d6fc76bc5b92d8f20284c3b", 539_225_533),
    "medium.en-q8_0": Published("b1cf48c12c807e14881f634fb7b6c6ca867f6b38", 823_382_461),
    "large-v1": Published("b1caaf735c4cc1429223d5a74f0f4d0b9b59a299", 3_094_623_691),
    "large-v2": Published("0f4c8e34f21cf1a914c59d8b3ce882345ad349d6", 3_094_623_691),
    "large-v2-q5_0": Published("00e39f2196344e901b3a2bd5814807a769bd1630", 1_080_732_091),
    "large-v2-q8_0": Published("da97d6ca8f8ffbeeb5fd147f79010eeea194ba38", 1_656_129_691),
    "large-v3": Published("ad82bf6a9043ceed055076d0fd39f5f186ff8062", 3_095_033_483),
    "large-v3-q5_0": Published("e6e2ed78495d403bef4b7cff42ef4aaadcfea8de", 1_081_140_203),
    "large-v3-turbo": Published("4af2b29d7ec73d781377bfd1758ca957a807e941", 1_624_555_275),
    "large-v3-turbo-q5_0": Published("e050f7970618a659205450ad97eb95a18d69c9ee", 574_041_195),
    "large-v3-turbo-q8_0": Published("01bf15bedffe9f39d65c1b6ff9b687ea91f59e0e", 874_188_075),
}
NAMES: Final = tuple(MODELS)
FILE_TYPES: Final = {"": 1, "q5_0": 8, "q5_1": 9, "q8_0": 7}
"""What a name ends with → the type in the file's header; see `ggml_layout.WEIGHT_TYPE`."""


def known(name: str) -> bool:
    """Whether ``name`` is a published model; `PACKAGED` is one as well."""
    return name in MODELS


def file_name(name: str) -> str:
    return f"ggml-{name}.bin"


def url(name: str) -> str:
    """Where the file lies: on the mirror that ``NIGHTGATE_MODELS_URL`` names, or where whisper.cpp publishes it."""
    return f"{(os.environ.get(MIRROR_VARIABLE) or _HOME).rstrip('/')}/{file_name(name)}"
