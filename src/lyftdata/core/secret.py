"""A string type for secrets: it prints as `***` in logs, tracebacks and reprs."""

from typing import NoReturn


class Secret:
    """
    Text that must not reach a log, a traceback or a page by accident.

    `repr`, `str` and formatting print `***`; only `reveal()` gives the text, so every use that could leak
    is found by searching for that word. Not hashable and not picklable: a secret is not a key or a message.
    """

    __slots__ = ("_text",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself; the caller answers for where it goes."""
        return self._text

    def __len__(self) -> int:
        return len(self._text)

    def __repr__(self) -> str:
        return "***"

    def __reduce__(self) -> NoReturn:
        msg = "a Secret is not pickled"
        raise TypeError(msg)
