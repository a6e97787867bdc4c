"""QR codes, decoded from their drawings."""

import re

import pytest

from lyftdata.server.admin.qr_codes import qr_svg, qr_text

URI = "otpauth://totp/lyftdata%20lyft.example%3Aadmin?secret=ABCDEFGHIJKLMNOPQRSTUVWXYZ234567&issuer=lyftdata"


def modules_of_text(text):
    """Return the rows of a code drawn in half blocks: whether each module is dark."""
    halves = {"█": (False, False), "▀": (False, True), "▄": (True, False), " ": (True, True)}
    rows = []
    for line in text.rstrip("\n").splitlines():
        pairs = [halves[character] for character in line]
        rows += [[pair[0] for pair in pairs], [pair[1] for pair in pairs]]
    return rows


def modules_of_svg(svg):
    """Return the rows of a code drawn as a path of horizontal lines."""
    viewed = re.search(r'viewBox="0 0 (\d+) \d+"', svg)
    drawn = re.search(r'd="M(4 4\.5[^"]+)"', svg)
    assert viewed
    assert drawn
    size = int(viewed[1])
    rows = [[False] * size for _ in range(size)]
    x, y = 0.0, 0.0
    for kind, a, b in re.findall(r"([Mmh]?)(-?[\d.]+)(?: (-?[\d.]+))?", "M" + drawn[1]):
        if kind == "M":
            x, y = float(a), float(b)
        elif kind == "m":
            x, y = x + float(a), y + float(b)
        else:
            for column in range(int(x), int(x + float(a))):
                rows[int(y)][column] = True
            x += float(a)
    return rows


def test_page_and_terminal_draw_the_same_code():
    """Both have a margin around the same modules."""
    on_page = [row[4:-4] for row in modules_of_svg(qr_svg(URI))[4:-4]]
    size = len(on_page)
    in_terminal = [row[2 : 2 + size] for row in modules_of_text(qr_text(URI))[2 : 2 + size]]

    assert in_terminal == on_page
    finder = [True, *[False] * 5, True]
    assert on_page[0][:7] == [True] * 7
    assert on_page[1][:7] == finder


@pytest.mark.parametrize("draw", [qr_svg, qr_text])
def test_the_text_cannot_be_read_without_decoding(draw):
    """Searching a log or a page for the secret does not find it in the drawing."""
    assert "ABCDEF" not in draw(URI)
    assert draw(URI) != draw(URI + "8")


def test_the_drawing_needs_no_style():
    """The pages' content security policy allows no styles; it is white in dark mode too, as cameras need it."""
    svg = qr_svg(URI)

    assert "style" not in svg
    assert 'fill="#fff"' in svg
    assert svg.startswith("<svg")
