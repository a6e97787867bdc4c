"""
Rules for a request line and headers that llhttp does not enforce by itself (RFC 9112).

If a proxy and the Server disagree on where a request ends, or on its target, a client can hide one request inside
another (request smuggling). Anything ambiguous is rejected, never interpreted.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Final

import httptools

MAX_HEAD_BYTES = 32_768

_VERSIONS = ("1.1", "1.0")
# Headers that a request must not repeat. llhttp checks Content-Length.
_AT_MOST_ONCE = frozenset({b"host", b"transfer-encoding", b"expect"})
_NOT_A_TARGET = "The request target must be a path or an http(s) URL."
# uri-host [":" port] of RFC 3986, section 3.2.2; a name may be empty.
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?")


class HeadRejectedError(Exception):
    """
    A request line or header that the Server does not accept.

    Args:
        status: HTTP status of the answer.
        detail: What is wrong, without any data from the client.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status: Final = status
        self.detail: Final = detail


def check_head(
    *, method: bytes, version: str, target: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> tuple[bytes, bool]:
    """
    Check a request's head.

    llhttp checks the syntax of lines, names and values, and rejects a second or non-numeric Content-Length, and one
    together with Transfer-Encoding. None of that is repeated here.

    Args:
        method: In upper case.
        version: `major.minor`, as parsed.
        target: The request-target as received (RFC 9112, section 3.2).
        headers: Names in lower case.

    Returns:
        The target in origin-form (`/path?query`) or `*`, and whether the client waits for `100 Continue` before it
        sends the body.

    Raises:
        HeadRejectedError: The head violates a rule.
    """
    if version not in _VERSIONS:
        # llhttp accepts 0.9 and 2.0, and parses them as if they were 1.1.
        raise HeadRejectedError(505, "Only HTTP/1.1 and HTTP/1.0 are supported.")
    size = len(target)
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        size += len(name) + len(value) + 4
        if name in _AT_MOST_ONCE:
            if name in found:
                raise HeadRejectedError(400, f"There must not be two {name.decode().title()} headers.")
            found[name] = value
    if size > MAX_HEAD_BYTES:
        raise HeadRejectedError(431, f"The headers are larger than {MAX_HEAD_BYTES} bytes.")
    host = found.pop(b"host", None)
    _check_host(host, version)
    expects_continue = bool(found) and _check_framing(found, version)
    if method == b"CONNECT":
        # What follows would be a tunnel, not a request.
        raise HeadRejectedError(501, "CONNECT is not supported.")
    if not target.startswith(b"/") or b"#" in target:
        target = _origin_form(method, target, host)
    return target, expects_continue


# Cached: nearly all requests have one of a few values.
@functools.lru_cache(maxsize=64)
def _check_host(host: bytes | None, version: str) -> None:
    if host is None:
        if version == "1.1":
            raise HeadRejectedError(400, "There must be a Host header.")
    elif not _HOST.fullmatch(host.strip(b" \t")):
        raise HeadRejectedError(400, "The Host header is not a host with an optional port.")


def _check_framing(found: Mapping[bytes, bytes], version: str) -> bool:
    """Check how the length of the body is given; return whether the client waits before sending it."""
    coding, expectation = found.get(b"transfer-encoding"), found.get(b"expect")
    if coding is not None:
        if version == "1.0":
            # RFC 9112, section 6.1: an HTTP/1.0 server would take the body for the next request.
            raise HeadRejectedError(400, "HTTP/1.0 has no Transfer-Encoding.")
        if coding.strip(b" \t").lower() != b"chunked":
            # llhttp only looks at the last coding. Other parsers look at the first, or at the whole value.
            raise HeadRejectedError(501, "The only Transfer-Encoding that is supported is `chunked`.")
    # RFC 9110, section 10.1.1: ignored in HTTP/1.0, whose clients do not know interim responses.
    if expectation is None or version == "1.0":
        return False
    if expectation.strip(b" \t").lower() != b"100-continue":
        raise HeadRejectedError(417, "The only expectation that is supported is `100-continue`.")
    return True


def _origin_form(method: bytes, target: bytes, host: bytes | None) -> bytes:
    """Return the origin-form of an absolute URL or of `*`; raises like `check_head`."""
    if target == b"*" and method == b"OPTIONS":
        return target
    if b"#" in target:
        raise HeadRejectedError(400, "The request target must not have a fragment.")
    if not target.lower().startswith((b"http://", b"https://")):
        raise HeadRejectedError(400, _NOT_A_TARGET)
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError as error:
        raise HeadRejectedError(400, _NOT_A_TARGET) from error
    # RFC 9112, section 3.2.2: the target takes precedence over Host. A proxy may have used either, so they must agree.
    authority = target.partition(b"://")[2].partition(b"/")[0].partition(b"?")[0]
    if host is not None and authority.lower() != host.strip(b" \t").lower():
        raise HeadRejectedError(400, "The request target and the Host header name different hosts.")
    return (url.path or b"/") + (b"?" + url.query if url.query else b"")
