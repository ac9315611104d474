"""Where Grafana is, when it is not at GRAFANA_URL: its health, which needs no token, is asked for around that address."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import urljoin, urlsplit, urlunsplit

HEALTH = "/api/health"
_USUAL = "/grafana"  # the sub-path of Grafana's own examples
_LOGIN = ("login", "signin", "sign-in", "sign_in", "oauth", "oauth2", "saml", "sso", "authorize", "auth")


def candidates(base: str) -> Iterator[str]:
    """``base``, what is above it, and the usual sub-path; then all of that with the other scheme."""
    parts = urlsplit(base)
    names = [name for name in parts.path.split("/") if name]
    paths = ["".join(f"/{name}" for name in names[:count]) for count in range(len(names), -1, -1)]
    if _USUAL not in paths:
        paths.append(_USUAL)
    for scheme in (parts.scheme, "http" if parts.scheme == "https" else "https"):
        yield from (urlunsplit((scheme, parts.netloc, path, "", "")) for path in paths)


def find(base: str, look: Callable[[str], str | None]) -> str | None:
    """The address that Grafana answers at, ``base`` first; None when it answers at none.

    Args:
        look: asks for the health below an address, and returns the address it is at, None when there is none.
    """
    return next((found for candidate in candidates(base) if (found := look(candidate))), None)


def target_base(asked: str, path: str, location: str) -> str | None:
    """The GRAFANA_URL that a redirect of ``path`` means; None when it leads to a login, say, or in a circle."""
    parts = urlsplit(urljoin(asked + path, location))
    if parts.scheme not in ("http", "https") or not parts.hostname or not parts.path.rstrip("/").endswith(path):
        return None
    above = parts.path.rstrip("/").removesuffix(path)
    base = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], above, "", ""))
    return base if base != asked else None


def is_login(location: str) -> bool:
    """Whether a redirect leads to a page where a person is to log in."""
    return any(name.lower() in _LOGIN for name in urlsplit(location).path.split("/"))
