"""Heads that the parser accepts and the Server rejects."""

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
def test_only_http_1_1_and_1_0_are_accepted(version, result):
    """Other versions get 505."""
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
def test_a_valid_host_is_accepted(host):
    """A name or an address, with or without a port, or nothing (RFC 9112, section 3.2)."""
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
def test_an_invalid_host_is_rejected(host):
    """With 400."""
    assert checked((b"host", host)) == 400


def test_http_1_1_needs_exactly_one_host_header():
    """In HTTP/1.0 it is optional, but may not be repeated."""
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
def test_the_only_transfer_encoding_is_chunked(coding, result):
    """Any list is rejected, whichever of its members another parser would accept."""
    assert checked(HOST, (b"transfer-encoding", coding)) == result


def test_a_transfer_encoding_in_http_1_0_is_rejected():
    """An HTTP/1.0 server would take the body for the next request (RFC 9112, section 6.1)."""
    assert checked(HOST, (b"transfer-encoding", b"chunked"), version="1.0") == 400


def test_a_repeated_transfer_encoding_is_rejected():
    """Instead of choosing the first or the last."""
    assert checked(HOST, (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")) == 400


@pytest.mark.parametrize("expectation", [b"100-continue", b"100-Continue", b" 100-continue\t"])
def test_100_continue_is_expected_only_in_http_1_1(expectation):
    """HTTP/1.0 has no interim answers."""
    for version, expects in [("1.1", True), ("1.0", False)]:
        headers = (HOST, (b"expect", expectation))

        assert check_head(method=b"PUT", version=version, target=b"/", headers=headers) == (b"/", expects)


@pytest.mark.parametrize("expectation", [b"y 100-continue", b"100-continue, y", b"200-ok", b""])
def test_an_unknown_expectation_is_rejected(expectation):
    """If it were ignored, another parser might take it for `100-continue`."""
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
def test_a_target_is_a_path_or_a_url_of_the_named_host(target, result):
    """Without a fragment (RFC 9112, section 3.2)."""
    assert checked(HOST, target=target) == result


def test_options_and_connect_have_their_own_targets():
    """`OPTIONS *` is about the Server; `CONNECT` would open a tunnel and is rejected."""
    assert checked(HOST, method=b"OPTIONS", target=b"*") == b"*"
    assert checked(HOST, method=b"CONNECT", target=b"lyftdata.example:3000") == 501
    assert checked(HOST, method=b"CONNECT", target=b"/a") == 501


@pytest.mark.parametrize(("more", "result"), [(0, b"/a?b"), (1, 431)])
def test_a_head_is_limited_to_32_kib(more, result):
    """Target and headers together; one byte more is rejected."""
    taken = len(b"/a?b") + sum(len(part) for part in HOST) + 4 + len(b"x") + 4

    assert checked(HOST, (b"x", b"v" * (MAX_HEAD_BYTES - taken + more))) == result
