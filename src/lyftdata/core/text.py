"""Makes text of untrusted callers safe to show, and counts nouns. Imports nothing, since every command uses it."""

_MAX_REFERENCE = 32


def clean_text(text: str, max_length: int = 128) -> str:
    """
    Make text of an untrusted caller safe for a log line, a terminal or the text of a page.

    Attacks: log injection by line ends, terminal escape sequences, and spoofing by bidi overrides. What is not printable
    becomes U+FFFD; the result has at most `max_length` characters. HTML is not escaped: the templates do that.
    """
    # Resource exhaustion: cut first, so that the work does not grow with what an untrusted caller sends.
    return clean_line(text[:max_length])


def clean_line(text: str) -> str:
    """Do the same for a line that may contain text of an untrusted caller, without cutting it."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def clean_lines(text: str, *, indent: str = "") -> str:
    """
    Do the same for each line of a text, such as a traceback.

    Log injection: with an indent, no line can pass for the first line of another log entry.
    """
    # Not splitlines(): it splits, and so removes, at control characters that must become U+FFFD.
    return "\n".join(indent + clean_line(line) for line in text.rstrip("\n").split("\n"))


def parse_reference(unverified: object) -> str:
    """
    Return the reference of a refusal in an answer, or "" if it is not one.

    Command injection: it is shown in commands that people paste into a shell, and the answer may come from an attacker.
    """
    is_one = isinstance(unverified, str) and unverified.isascii() and unverified.isalnum()
    return str(unverified) if is_one and len(str(unverified)) <= _MAX_REFERENCE else ""


def count(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 Worker` or `1,200 Workers`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
