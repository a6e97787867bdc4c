"""

Where a request ends: nothing in a body, after a rejected request or after a last request is processed as a request.

The second opinion is h11: an independent, strict parser, as a proxy might use.
"""

import asyncio
import itertools
import re
import ssl

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.certificates import self_signed
from tests.recording_server import Received, Recorder, connected, read_in_pieces

HEAD = b"POST /outer HTTP/1.1\r\nHost: x\r\n"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(HIDDEN)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)
OUTER = Received("POST", b"/outer", HIDDEN)
NEXT = Received("GET", b"/next")
NEXT_REQUEST = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"


def statuses(answers: bytes) -> list[str]:
    """Return the final status of each answer."""
    return re.findall(r"HTTP/1\.1 ([2-5]\d{2}) [A-Z]", answers.decode())


OFFERS = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
    "websocket": b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "any": b"Connection: upgrade\r\nUpgrade: foo\r\n",
    "several": b"Upgrade: a/1, b\r\nConnection: foo\r\nConnection: Upgrade\r\nUpgrade: c\r\n",
}


@pytest.mark.parametrize(
    "framed", [LENGTH + b"\r\n" + HIDDEN, CHUNKED + b"\r\n" + CHUNKS], ids=["length", "chunked"]
)
@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
async def test_an_offer_to_upgrade_is_ignored(offer, framed):
    """The body belongs to its request (RFC 9110, section 7.8), wherever the data is cut, and the connection stays open."""
    data = HEAD + offer + framed + NEXT_REQUEST

    for cut in range(1, len(data)):
        received, answers, closed = await read_in_pieces([data[:cut], data[cut:]])
        assert received == [OUTER, NEXT], cut
        assert (statuses(answers), closed) == (["200"] * 2, False), cut
        assert b"upgrade" not in dict(received[0].headers)


async def test_repeated_offers_to_upgrade_are_ignored():
    """Of several requests in one piece of data, each is answered like the first."""
    data = (HEAD + OFFERS["any"] + LENGTH + b"\r\n" + HIDDEN) * 5

    received, answers, closed = await read_in_pieces([data])

    assert received == [OUTER] * 5
    assert (statuses(answers), closed) == (["200"] * 5, False)


async def test_an_offer_to_upgrade_in_http_1_0_is_ignored():
    """And the connection ends with the answer."""
    head = HEAD.replace(b"1.1", b"1.0")

    received, _, closed = await read_in_pieces(
        [head + OFFERS["any"] + LENGTH + b"\r\n", HIDDEN + NEXT_REQUEST]
    )

    assert (received, closed) == ([OUTER], True)


NOT_EVEN_THE_OUTER = {
    "length and chunks": LENGTH + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN,
    "chunks and length": CHUNKED + LENGTH + b"\r\n0\r\n\r\n" + HIDDEN,
    "two lengths": b"Content-Length: 0\r\n" + LENGTH + b"\r\n" + HIDDEN,
    "the same length twice": LENGTH + LENGTH + b"\r\n" + HIDDEN,
    **{
        f"length {value!r}": b"Content-Length: " + value + b"\r\n\r\n" + HIDDEN
        for value in (
            b"+0",
            b"-0",
            b"0x0",
            b"0, 0",
            b"0,0",
            b"0 0",
            b"",
            b"0;",
            b"0_0",
            b"\x0b0",
            b"0\x00",
            b"\xb2",
            b"1e0",
        )
    },
    "a length beyond 64 bits": b"Content-Length: 18446744073709551616\r\n\r\n" + HIDDEN,
    **{
        f"length by the name {name!r}": name + b": 0\r\n\r\n" + HIDDEN
        for name in (
            b"Content-Length ",
            b"Content-Length\t",
            b"\tContent-Length",
            b"Content-Length\x0b",
            b"Content-Length\x00",
        )
    },
    **{
        f"coding {value!r}": b"Transfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n" + HIDDEN
        for value in (
            *(
                b"xchunked",
                b"chunked, identity",
                b"identity, chunked",
                b"identity",
                b"gzip, chunked",
                b"chunked, chunked",
            ),
            *(
                b"chunked;q=1",
                b'"chunked"',
                b"chunked,",
                b",chunked",
                b"\x0bchunked",
                b"chunked\x0b",
                b"\x00chunked",
                b"",
            ),
            *(
                b"x chunked",
                b"chunked\xa0",
                b"chunke",
                b"\r\n chunked",
                b"x\r\n chunked",
                b"chunked\r\n , identity",
            ),
        )
    },
    "codings in two headers": b"Transfer-Encoding: identity\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN,
    "codings in two headers, chunked first": CHUNKED
    + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n"
    + HIDDEN,
    "chunked twice": CHUNKED + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN,
    **{
        f"coding by the name {name!r}": name + b": chunked\r\n\r\n0\r\n\r\n" + HIDDEN
        for name in (
            b"Transfer-Encoding ",
            b" Transfer-Encoding",
            b"Transfer-Encoding\t",
            b"Transfer-Encoding\x00",
        )
    },
    "a folded line": b"X: a\r\n Content-Length: 0\r\n" + LENGTH + b"\r\n" + HIDDEN,
    "a folded line of white space": b"X: a\r\n \r\n" + LENGTH + b"\r\n" + HIDDEN,
    "a bare line feed": b"X: a\n" + LENGTH + b"\r\n" + HIDDEN,
    "a bare carriage return": b"X: a\r" + LENGTH + b"\r\n" + HIDDEN,
    "an empty line of line feeds": b"X: a\r\n\n" + HIDDEN,
    "an empty line that is not ended": b"X: a\r\n\r" + HIDDEN,
    "a NUL in a value": b"X: a\x00b\r\n\r\n" + HIDDEN,
    "a control character in a value": b"X: a\x0bb\r\n\r\n" + HIDDEN,
    "a name with a space": b"X Y: a\r\n\r\n" + HIDDEN,
    "a line without a colon": b"X\r\n\r\n" + HIDDEN,
    "a second host": b"Host: x\r\n\r\n" + HIDDEN,
    "an unknown expectation": b"Expect: y 100-continue\r\n" + LENGTH + b"\r\n" + HIDDEN,
}


def every_cut(data: bytes) -> list[list[bytes]]:
    """Return the data in one piece, cut in two near each line, and byte by byte."""
    cuts = {at + by for at, byte in enumerate(data) if byte in b"\r\n" for by in (0, 1)} - {0, len(data)}
    return [[data], *([data[:cut], data[cut:]] for cut in sorted(cuts)), [bytes([byte]) for byte in data]]


@pytest.mark.parametrize("rest", NOT_EVEN_THE_OUTER.values(), ids=NOT_EVEN_THE_OUTER)
async def test_an_ambiguous_head_is_rejected(rest):
    """With one error, nothing reaches the application, and the connection is closed."""
    for pieces in every_cut(HEAD + rest):
        received, answers, closed = await read_in_pieces(pieces)

        assert (received, closed) == ([], True)
        assert statuses(answers) in (["400"], ["417"], ["501"])


OTHER_HEADS = {
    "CONNECT to a path": b"CONNECT /outer HTTP/1.1\r\nHost: x\r\n" + LENGTH + b"\r\n" + HIDDEN,
    "CONNECT": b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n" + HIDDEN,
    "CONNECT with an offer": b"CONNECT /outer HTTP/1.1\r\nHost: x\r\n" + OFFERS["any"] + b"\r\n" + HIDDEN,
    "chunks in HTTP/1.0": HEAD.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN,
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN,
    "a version of HTTP/2": b"GET /outer HTTP/2.0\r\nHost: x\r\n\r\n" + HIDDEN,
    "HTTP/0.9": b"GET /outer\r\n\r\n" + HIDDEN,
    "HTTP/1.2": b"GET /outer HTTP/1.2\r\nHost: x\r\n\r\n" + HIDDEN,
    "no host": b"GET /outer HTTP/1.1\r\n\r\n" + HIDDEN,
    "a fragment": b"GET /outer#x HTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN,
    "another host as the target": b"GET http://y/outer HTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN,
    "white space before the first header": b"GET /outer HTTP/1.1\r\n Host: x\r\n\r\n" + HIDDEN,
    "a line feed after the request line": b"GET /outer HTTP/1.1\nHost: x\r\n\r\n" + HIDDEN,
    "a NUL in the target": b"GET /out\x00er HTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN,
    "a space in the target": b"GET /out er HTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN,
    "a tab in the target": b"GET /out\ter HTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN,
    "a method in lower case": b"get /outer HTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN,
}


@pytest.mark.parametrize("data", OTHER_HEADS.values(), ids=OTHER_HEADS)
async def test_an_unusual_head_is_rejected(data):
    """Versions, methods and targets that two parsers may read differently: one error, and the connection is closed."""
    for pieces in every_cut(data):
        received, answers, closed = await read_in_pieces(pieces)

        assert (received, closed) == ([], True)
        assert statuses(answers) in (["400"], ["501"], ["505"])


BAD_BODIES = {
    **{
        f"size {size!r}": size + b"\r\n" + b"a" * 5 + b"\r\n0\r\n\r\n" + HIDDEN
        for size in (
            b"+5",
            b"-5",
            b"0x5",
            b" 5",
            b"5 ",
            b"5\t",
            b"5,",
            b"5_",
            b"5g",
            b"",
            b"5\x00",
            b"f" * 17,
            b"1" + b"0" * 15 + b"5",
        )
    },
    **{
        f"extension {extension!r}": b"5" + extension + b"\r\n" + b"a" * 5 + b"\r\n0\r\n\r\n" + HIDDEN
        for extension in (b";\n", b";a\nb", b";a\rb", b" ;a", b";\x00", b';a="\r\n"', b";a=\xff")
    },
    "a size ended by a line feed": b"5\naaaaa\r\n0\r\n\r\n" + HIDDEN,
    "a size ended by a carriage return": b"5\raaaaa\r\n0\r\n\r\n" + HIDDEN,
    "a chunk ended by a line feed": b"5\r\naaaaa\n0\r\n\r\n" + HIDDEN,
    "a chunk that is not ended": b"5\r\naaaaa0\r\n\r\n" + HIDDEN,
    "a chunk that is too long": b"5\r\naaaaaXX0\r\n\r\n" + HIDDEN,
    "an end of line feeds": b"5\r\naaaaa\r\n0\n\n" + HIDDEN,
    "a trailer ended by a line feed": b"0\r\nX: a\n\r\n" + HIDDEN,
    "a trailer with a space in its name": b"0\r\nX : a\r\n\r\n" + HIDDEN,
    "a length as a trailer": b"0\r\n" + LENGTH + b"\r\n" + HIDDEN,
    "a coding as a trailer": b"0\r\n" + CHUNKED + b"\r\n" + HIDDEN,
}


@pytest.mark.parametrize("offer", [b"", OFFERS["h2c"]], ids=["plain", "with an offer"])
@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
async def test_a_malformed_body_closes_the_connection(body, offer):
    """Neither its request nor anything after it reaches the application."""
    for pieces in every_cut(HEAD + offer + CHUNKED + b"\r\n" + body):
        received, answers, closed = await read_in_pieces(pieces)

        assert (received, statuses(answers), closed) == ([], ["400"], True)


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE", b"PUT"])
@pytest.mark.parametrize(
    "framed", [LENGTH + b"\r\n" + HIDDEN, CHUNKED + b"\r\n" + CHUNKS], ids=["length", "chunked"]
)
async def test_every_method_may_have_a_body(method, framed):
    """A body is not taken for a request because its method usually has none."""
    data = HEAD.replace(b"POST", method) + framed + NEXT_REQUEST
    for pieces in every_cut(data):
        received, _, closed = await read_in_pieces(pieces)

        assert (received, closed) == ([Received(method.decode(), b"/outer", HIDDEN), NEXT], False)


LAST = {
    "close": b"GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "keep-alive and close": b"GET /next HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n",
    "HTTP/1.0": b"GET /next HTTP/1.0\r\n\r\n",
    "HTTP/1.0 that asks for more": b"GET /next HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "an expectation": b"GET /next HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
}


@pytest.mark.parametrize("last", LAST.values(), ids=LAST)
async def test_nothing_after_the_last_request_is_processed(last):
    """The last one is a request that ends its connection."""
    for pieces in every_cut(last + HIDDEN):
        received, answers, closed = await read_in_pieces(pieces)

        assert (received, statuses(answers), closed) == ([NEXT], ["200"], True)


TRAILERS = [
    b"X: a\r\n",
    b"Authorization: Bearer late\r\nHost: y\r\n",
    b"Connection: Upgrade\r\nUpgrade: foo\r\n",
]


@pytest.mark.parametrize("trailers", TRAILERS)
async def test_trailers_are_dropped(trailers):
    """They become headers of neither this request nor the next, and the connection stays open."""
    data = HEAD + CHUNKED + b"\r\n" + CHUNKS[:-2] + trailers + b"\r\n" + NEXT_REQUEST
    for pieces in every_cut(data):
        received, _, closed = await read_in_pieces(pieces)

        assert (received, closed) == ([OUTER, NEXT], False)
        assert received[0].headers == ((b"host", b"x"), (b"transfer-encoding", b"chunked"))
        assert received[1].headers == ((b"host", b"x"),)


async def test_a_rejection_comes_after_the_answers_to_earlier_requests():
    """So it is not taken for the answer to another request."""
    received, answers, closed = await read_in_pieces(
        [NEXT_REQUEST * 3 + b"GET /hidden HTTP/1.1\r\n\r\n" + HIDDEN]
    )

    assert (received, closed) == ([NEXT] * 3, True)
    assert statuses(answers) == ["200", "200", "200", "400"]


async def test_requests_before_a_malformed_body_are_answered():
    """The request with the malformed body is rejected and does not reach the application."""
    faulty = HEAD + CHUNKED + b"\r\nx\r\n"
    received, answers, closed = await read_in_pieces([NEXT_REQUEST * 2 + faulty + HIDDEN])

    assert (received, closed) == ([NEXT] * 2, True)
    assert statuses(answers) == ["200", "200", "400"]


async def test_a_request_is_answered_once():
    """An error in the rest of its body, after the answer, closes the connection without a second answer."""
    async with connected(Recorder(reads_first=False)) as line:
        await line.send(HEAD + CHUNKED + b"\r\n")
        assert (await line.answer()).startswith(b"HTTP/1.1 200")
        await line.send(b"x\r\n" + HIDDEN)

        assert await line.closed() == b"ok"


async def test_an_answer_without_the_expected_100_closes_the_connection():
    """The client may send a next request instead of the body (RFC 9110, section 10.1.1), so neither is read."""
    app = Recorder(reads_first=False)
    async with connected(app) as line:
        await line.send(HEAD + LENGTH + b"Expect: 100-continue\r\n\r\n")
        answer = await line.answer()
        await line.send(HIDDEN)

        assert b"connection: close" in answer
        assert await line.closed() == b"ok"
        assert [request.target for request in app.received] == [b"/outer"]


async def test_nothing_is_processed_after_the_close_over_tls(tmp_path):
    """Even if it was already received when the TLS connection was closed."""
    cert, key = self_signed(tmp_path)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(cert, key)
    trusting = ssl.create_default_context(cafile=cert)
    trusting.check_hostname = False
    app = Recorder()
    async with connected(app, server=serving, client=trusting) as line:
        await line.send(b"GET /out\x00er HTTP/1.1\r\n\r\n", *[HIDDEN] * 50)

        assert (await line.closed()).startswith(b"HTTP/1.1 400")
        assert app.received == []


def parse_with_h11(data: bytes) -> tuple[list[Received], bool]:
    """Return the requests that h11 parses, answering each, and whether it stopped at an error."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    requests: list[Received] = []
    head, body = h11.Request(method=b"X", target=b"/", headers=[(b"Host", b"x")]), bytearray()
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return requests, True
        if isinstance(event, h11.Request):
            head, body = event, bytearray()
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            requests.append(Received(head.method.decode(), head.target, bytes(body)))
            status = 501 if head.method == b"CONNECT" else 200
            connection.send(h11.Response(status_code=status, headers=[(b"Content-Length", b"0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return requests, False
            connection.start_next_cycle()
        else:
            return requests, False


LINES = st.sampled_from(
    [
        *(
            LENGTH,
            CHUNKED,
            *OFFERS.values(),
            b"Host: x\r\n",
            b"X: a\r\n",
            b"Content-Length: 0\r\n",
            b"Content-Length: 5\r\n",
        ),
        *(
            b"Connection: close\r\n",
            b"Content-Length: 5, 5\r\n",
            b"Transfer-Encoding: identity\r\n",
            b"X: a\n",
            b"X: a\r\n b\r\n",
        ),
        *(
            b"Content-Length : 5\r\n",
            b"Transfer-Encoding: gzip, chunked\r\n",
            b"Transfer-Encoding: Chunked\r\n",
            b"Expect: x\r\n",
        ),
    ]
)
BODIES = st.sampled_from(
    [
        *(
            b"",
            HIDDEN,
            CHUNKS,
            b"0\r\n\r\n",
            b"aaaaa",
            b"5\r\naaaaa\r\n0\r\n\r\n",
            b"5;a=b\r\naaaaa\r\n0\r\n\r\n",
            b"0\r\nX: a\r\n\r\n",
        ),
        *(
            b"05\r\naaaaa\r\n00\r\n\r\n",
            b"5\naaaaa\n0\n\n",
            b"5 \r\naaaaa\r\n0\r\n\r\n",
            b"5\r\naaaaaaa\r\n0\r\n\r\n",
            b"\r\n",
            b"\n",
        ),
    ]
)
METHODS = st.sampled_from([b"GET", b"POST", b"HEAD", b"DELETE", b"OPTIONS", b"CONNECT"])
VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"])


@st.composite
def requests_made_of_odd_parts(draw: st.DrawFn) -> bytes:
    """Return a few requests, each made of a request line, some headers and something that may be its body."""
    data = b""
    for _ in range(draw(st.integers(1, 3))):
        line = b"%s /r %s\r\n" % (draw(METHODS), draw(VERSIONS))
        data += line + b"Host: x\r\n" + b"".join(draw(st.lists(LINES, max_size=3))) + b"\r\n" + draw(BODIES)
    return data


@given(data=requests_made_of_odd_parts(), cuts=st.lists(st.integers(0, 400), max_size=4))
def test_our_parser_agrees_with_h11(data, cuts):
    """Both find the same requests, wherever the data is cut; the Server finds more only after h11 reported an error."""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]

    ours, _, _ = asyncio.run(read_in_pieces(pieces))

    theirs, at_fault = parse_with_h11(data)
    assert ours[: len(theirs)] == theirs[: len(ours)]
    assert at_fault or len(ours) <= len(theirs)
