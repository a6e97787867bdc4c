"""
Every error of lyftdata, one tree.

LyftdataError
├── SettingsError            start-up settings are wrong; lists every fault (exit 2)
├── InvalidInputError        a name, ID, label or other value breaks its rule; names the field
├── ConflictError            the request is well-formed, but the state of the Server stands against it
├── NotFoundError            the thing named does not exist
├── ForbiddenError           who asks is known, and may not do this
└── RefusedError             an attempt to get in was refused; the causes are in `refusals`

Each class has a stable `code`: audit, metrics, scripts and dashboards match on it, never on the sentence.
"""

from typing import ClassVar


class LyftdataError(Exception):
    """
    Root of the tree.

    Args:
        message: One sentence for the reader of this error; never holds a secret.
        hint: What to do about it, or empty.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SettingsError(LyftdataError):
    """
    Start-up settings that cannot be used.

    Args:
        problems: One sentence a fault, each naming the variable and what to do; secrets are never quoted.
    """

    code = "bad_settings"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class InvalidInputError(LyftdataError):
    """
    A value that breaks its rule.

    Args:
        field: Name of the field as the caller knows it, for example `labels`.
        message: What is wrong and what is allowed.
    """

    code = "invalid_input"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class ConflictError(LyftdataError):
    """
    The state of the Server stands against the request.

    Args:
        code: Stable code of this conflict, for example `worker_id_taken`.
        message: What stands in the way.
        hint: What to do about it.
    """

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code  # type: ignore[misc]  # one class, a code per conflict


class NotFoundError(LyftdataError):
    """
    The thing named does not exist.

    Args:
        noun: What was looked for, for example `worker`; the code becomes `worker_not_found`.
        name: The name it was looked for by.
        hint: What was perhaps meant.
    """

    def __init__(self, noun: str, name: str, *, hint: str = "") -> None:
        super().__init__(f"There is no {noun.replace('_', ' ')} '{name}'.", hint=hint)
        self.code = f"{noun}_not_found"  # type: ignore[misc]  # one class, a code per noun


class ForbiddenError(LyftdataError):
    """Who asks is known, and may not do this."""

    code = "forbidden"
