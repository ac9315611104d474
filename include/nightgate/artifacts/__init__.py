"""What is built once and used every night: content-addressed folders under NIGHTGATE_HOME.

cache.py      a request: found here, fetched, or built
store.py      an artefact on disk: its manifest, whole or not at all
leases.py     who uses what
limit.py      the byte limit, and what goes
sharing.py    what builders share: turns, and a store of what is done
events.py     what was counted
settings.py   what the environment says
"""

from nightgate.artifacts.cache import Artifact, Cache
from nightgate.artifacts.settings import Settings

__all__ = ["Artifact", "Cache", "Settings"]
