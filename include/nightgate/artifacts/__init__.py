"""What is built once and used every night: content-addressed folders under NIGHTGATE_HOME."""

from nightgate.artifacts.artifact import Artifact
from nightgate.artifacts.cache import Cache
from nightgate.artifacts.settings import Settings

__all__ = ["Artifact", "Cache", "Settings"]
