"""Makes text from untrusted callers safe to show. Imports nothing, since every command shows text."""


def clean_text(text: str, max_length: int = 128) -> str:
    """
    Make a stranger's text safe for a log line, a terminal or a page's text.

    What is not printable (control characters, line ends, terminal escapes, bidi overrides, lone surrogates)
    becomes U+FFFD; the rest is cut to `max_length` characters.
    """
    # Cut first: the work must not grow with what a stranger sends.
    return clean_line(text[:max_length])


def clean_line(text: str) -> str:
    """Do the same to a whole line, however long: a stranger's words may be in it."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def clean_lines(text: str, *, indent: str = "") -> str:
    """
    Do the same to each line of a text, such as a traceback.

    Indented, none of its lines can be taken for the beginning of something else.
    """
    # Not splitlines(): that ends a line at characters that no terminal takes for its end, and would let them pass.
    return "\n".join(indent + clean_line(line) for line in text.rstrip("\n").split("\n"))


def count(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 Worker` or `1,200 Workers`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
