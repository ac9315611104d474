"""A NIGHTGATE_HOME for the stack that the browser looks at."""

from __future__ import annotations

import pytest
from support.small_home import Home


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return Home(tmp_path_factory.mktemp("home"))
