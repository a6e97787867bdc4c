"""A string type for secrets: it prints as `***` in logs, tracebacks and reprs."""

from typing import NoReturn


class Secret:
    """
    Text that must not reach a log, a traceback or a page by accident.

    `repr`, `str` and formatting print `***`; only `reveal()` returns the text, so every use that could leak it is found by
    searching for that word. Not hashable and not picklable: a secret is neither a dictionary key nor a message.
    """

    __slots__ = ("_text",)
    # Timing oracle: a secret in a dictionary or a set would be compared by `==`, which stops at the first difference.
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself; the caller is responsible for where it goes."""
        return self._text

    def __len__(self) -> int:
        return len(self._text)

    def __repr__(self) -> str:
        return "***"

    def __reduce__(self) -> NoReturn:
        msg = "a Secret cannot be pickled"
        raise TypeError(msg)
