"""Which heads are rejected that the parser lets through."""

import pytest

from lyftdata.server.http.request_head import MAX_HEAD_BYTES, HeadRejectedError, check_head

HOST = (b"host", b"lyftdata.example:3000")


def checked(
    *headers: tuple[bytes, bytes], method: bytes = b"GET", version: str = "1.1", target: bytes = b"/a?b"
) -> bytes | int:
    """Return the target that was accepted, or the status of the rejection."""
    try:
        return check_head(method=method, version=version, target=target, headers=headers)[0]
    except HeadRejectedError as rejected:
        assert rejected.detail.isascii()
        return rejected.status


@pytest.mark.parametrize(
    ("version", "result"), [("1.1", b"/a?b"), ("1.0", b"/a?b"), ("0.9", 505), ("2.0", 505)]
)
def test_versions(version, result):
    """Only HTTP/1.1 and HTTP/1.0 are read as such."""
    assert checked(HOST, version=version) == result


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"x",
        b"x:80",
        b"x:",
        b"192.0.2.1:1",
        b"[::1]:80",
        b"a_b",
        b"%41",
        b" x\t",
        b"xn--bcher-kva.example",
    ],
)
def test_hosts(host):
    """A name, an address, either with a port, and nothing at all are hosts (RFC 9112, section 3.2)."""
    assert checked((b"host", host)) == b"/a?b"


@pytest.mark.parametrize(
    "host",
    [
        b"x y",
        b"x/y",
        b"x@y",
        b"x:a",
        b"x:80:80",
        b"[::1",
        b"::1",
        b"x\xff",
        b"x?",
        b"x#",
        b"%4",
        b"[x]",
        b"x\\y",
        b"x\n",
    ],
)
def test_what_is_not_a_host(host):
    """Any other value is a bad request."""
    assert checked((b"host", host)) == 400


def test_one_host_header():
    """HTTP/1.1 demands exactly one; HTTP/1.0 does not know it."""
    assert checked() == 400
    assert checked(HOST, HOST) == 400
    assert checked(version="1.0") == b"/a?b"
    assert checked(HOST, HOST, version="1.0") == 400


@pytest.mark.parametrize(
    ("coding", "result"),
    [
        (b"chunked", b"/a?b"),
        (b"Chunked", b"/a?b"),
        (b"chunked \t", b"/a?b"),
        (b"identity", 501),
        (b"gzip, chunked", 501),
        (b"chunked, identity", 501),
        (b",chunked", 501),
        (b"chunked;q=1", 501),
        (b"xchunked", 501),
        (b"", 501),
    ],
)
def test_transfer_encodings(coding, result):
    """`chunked` alone is understood; any list is rejected, whichever of its members another parser would take."""
    assert checked(HOST, (b"transfer-encoding", coding)) == result


def test_transfer_encoding_of_http_1_0():
    """A server of HTTP/1.0 would take the body for the next request (RFC 9112, section 6.1)."""
    assert checked(HOST, (b"transfer-encoding", b"chunked"), version="1.0") == 400


def test_two_transfer_encodings():
    """The first is not taken, nor the last."""
    assert checked(HOST, (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")) == 400


@pytest.mark.parametrize("expectation", [b"100-continue", b"100-Continue", b" 100-continue\t"])
def test_an_expected_100(expectation):
    """It is asked for in HTTP/1.1 alone; HTTP/1.0 has no interim answers."""
    for version, expects in [("1.1", True), ("1.0", False)]:
        headers = (HOST, (b"expect", expectation))

        assert check_head(method=b"PUT", version=version, target=b"/", headers=headers) == (b"/", expects)


@pytest.mark.parametrize("expectation", [b"y 100-continue", b"100-continue, y", b"200-ok", b""])
def test_another_expectation(expectation):
    """What cannot be met is rejected and not ignored: another parser may take it for `100-continue`."""
    assert checked(HOST, (b"expect", expectation)) == 417


@pytest.mark.parametrize(
    ("target", "result"),
    [
        (b"/", b"/"),
        (b"//x/a", b"//x/a"),
        (b"/a#b", 400),
        (b"/a?b#c", 400),
        (b"http://lyftdata.example:3000/a?b", b"/a?b"),
        (b"HTTPS://LYFTDATA.example:3000/a", b"/a"),
        (b"http://lyftdata.example:3000", b"/"),
        (b"http://lyftdata.example:3000?b", b"/?b"),
        (b"http://lyftdata.example/a", 400),
        (b"http://elsewhere.example:3000/a", 400),
        (b"http://lyftdata.example:3000@elsewhere.example/a", 400),
        (b"http://user@lyftdata.example:3000/a", 400),
        (b"http://lyftdata.example:3000/a#b", 400),
        (b"ftp://lyftdata.example:3000/a", 400),
        (b"http:///a", 400),
        (b"lyftdata.example:3000", 400),
        (b"*", 400),
    ],
)
def test_targets(target, result):
    """A path, or a URL of the very host that Host names; no fragment (RFC 9112, section 3.2)."""
    assert checked(HOST, target=target) == result


def test_methods_that_bring_targets_of_their_own():
    """`OPTIONS *` asks about the Server; `CONNECT` would open a tunnel."""
    assert checked(HOST, method=b"OPTIONS", target=b"*") == b"*"
    assert checked(HOST, method=b"CONNECT", target=b"lyftdata.example:3000") == 501
    assert checked(HOST, method=b"CONNECT", target=b"/a") == 501


@pytest.mark.parametrize(("more", "result"), [(0, b"/a?b"), (1, 431)])
def test_size(more, result):
    """Target and headers together have 32 KiB and no byte more."""
    taken = len(b"/a?b") + sum(len(part) for part in HOST) + 4 + len(b"x") + 4

    assert checked(HOST, (b"x", b"v" * (MAX_HEAD_BYTES - taken + more))) == result
