"""Why a request came to nothing, as far as it can be seen from here, and what to do about that cause."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit


class Cause(NamedTuple):
    """``what`` completes "Grafana at HOST …"; ``step`` is what to do about it."""

    what: str
    step: str


_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_CERTIFICATE = {  # by OpenSSL's X509_V_ERR number
    9: Cause("has a certificate that is not valid yet", "set the clock of this host, or renew the certificate"),
    10: Cause("has a certificate that has expired", "renew the certificate of that server"),
    62: Cause("has a certificate for another name", "write GRAFANA_URL with the name in its certificate"),
    64: Cause("has a certificate for another address", "write GRAFANA_URL with the name in its certificate"),
}
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_PROXY = "let requests to /api and /apis pass what is before Grafana, or set GRAFANA_URL to Grafana's own address"


def of_tls(error: Exception, base: str) -> Cause:
    """Of a failed handshake."""
    inner = next((each for each in chain(error) if isinstance(each, ssl.SSLError)), None)
    host = urlsplit(base).netloc
    if isinstance(inner, ssl.SSLCertVerificationError):
        if inner.verify_code in _CERTIFICATE:
            return _CERTIFICATE[inner.verify_code]
        bundle = next((name for name in _BUNDLES if os.environ.get(name)), None)
        step = f"add its certificate authority to the file that {bundle} names"
        if not bundle:
            step = "set REQUESTS_CA_BUNDLE to the file of its certificate authority"
        return Cause(f"cannot be asked: the certificate of {host} is not trusted", step)
    reason = str(getattr(inner, "reason", None) or "no reason given").upper().replace(" ", "_")
    if reason in _NO_TLS:
        return Cause("does not speak https", f"set GRAFANA_URL=http{base.removeprefix('https')}, if it has no TLS")
    return Cause(f"refuses a TLS connection ({reason})", "look at the TLS settings of that server")


def of_no_connection(error: Exception, base: str) -> Cause:
    """Of a request that was never sent."""
    import requests
    from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

    parts, errors = urlsplit(base), list(chain(error))
    if any(isinstance(each, requests.exceptions.ProxyError) for each in errors):
        name = f"{parts.scheme}_proxy".upper()
        step = f"mend the variable {name}, or name {parts.hostname} in NO_PROXY"
        return Cause(f"cannot be reached through the proxy of {name}", step)
    if any(isinstance(each, NameResolutionError) for each in errors):
        what = f"cannot be reached: the name {parts.hostname} has no address"
        return Cause(what, "check the name in GRAFANA_URL, and the name service of this host")
    # urllib3 counts a NewConnectionError among the time-outs
    late = [each for each in errors if isinstance(each, (ConnectTimeoutError, TimeoutError))]
    if any(not isinstance(each, NewConnectionError) for each in late):
        what = "cannot be reached: no connection within some seconds"
        return Cause(what, "check the address in GRAFANA_URL, and whether a firewall is between")
    if any(isinstance(each, ConnectionRefusedError) for each in errors):
        what = "cannot be reached: nobody listens there"
        return Cause(what, "check the port in GRAFANA_URL and that Grafana runs")
    return Cause("cannot be reached", "check GRAFANA_URL and that it runs")


def of_settings(error: Exception) -> Cause | None:
    """Of a request that could not even be made, because a variable of the environment is wrong; None for others."""
    import requests

    if isinstance(error, (requests.exceptions.InvalidProxyURL, requests.exceptions.InvalidSchema)):
        return Cause("cannot be asked: the proxy of the environment is no address", "mend HTTP_PROXY and HTTPS_PROXY")
    bundle = next((name for name in _BUNDLES if (path := os.environ.get(name)) and not os.path.exists(path)), None)
    if bundle and isinstance(error, OSError) and not isinstance(error, requests.exceptions.RequestException):
        return Cause(f"cannot be asked: {bundle} names a file that is not there", f"mend {bundle}")
    return None


def of_foreign_refusal(status: int, text: str, base: str) -> Cause | None:
    """Of an answer without Grafana's reason in it, which then something before Grafana gave; None when it says nothing."""
    if status == 400 and "https" in text.lower() and base.startswith("http://"):
        return Cause("speaks https only", f"set GRAFANA_URL=https{base.removeprefix('http')}")
    if status in (401, 407):
        return Cause(f"is behind something that asks for a login of its own ({status})", _PROXY)
    if status == 403:
        return Cause(f"is behind something that refuses the request ({status})", _PROXY)
    if status in (502, 503, 504):
        return Cause(f"answered {status}", "see whether Grafana runs behind the proxy that answers there")
    return None


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those inside it, each once."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop(0)
        if not isinstance(each, BaseException) or any(each is other for other in seen):
            continue
        seen.append(each)
        yield each
        waiting += [*each.args, getattr(each, "reason", None), each.__cause__, each.__context__]
