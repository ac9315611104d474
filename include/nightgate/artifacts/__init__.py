"""What is built once and used every night: content-addressed folders under NIGHTGATE_HOME."""

from nightgate.artifacts.cache import Artifact, Cache

__all__ = ["Artifact", "Cache"]
