"""Renders QR codes for authenticator apps, on a page or in a terminal."""

import io

_ERROR_CORRECTION = "m"
# Four modules of margin, as ISO/IEC 18004 requires; a terminal has few lines, and apps can read two.
_MARGIN = 4
_MARGIN_IN_A_TERMINAL = 2


def qr_svg(text: str) -> str:
    """Return a QR code as an SVG element for a page: black on white in light and dark mode, without a style attribute."""
    import segno

    code = segno.make(text, error=_ERROR_CORRECTION, micro=False)
    return str(
        code.svg_inline(
            border=_MARGIN, dark="#000", light="#fff", omitsize=True, svgclass="qr", lineclass=None
        )
    )


def qr_text(text: str) -> str:
    """Return a QR code in half-block characters, for a terminal."""
    import segno

    lines = io.StringIO()
    segno.make(text, error=_ERROR_CORRECTION, micro=False).terminal(
        lines, border=_MARGIN_IN_A_TERMINAL, compact=True
    )
    return lines.getvalue()
