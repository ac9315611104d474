from __future__ import annotations

import pytest
from support.cluster import started


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """Two machines."""
    with started(tmp_path_factory.mktemp("cluster")) as made:
        yield made
