"""
The tree of lyftdata's errors.

LyftdataError
├── SettingsError            start-up settings are wrong; lists every fault (exit 2)
├── InvalidInputError        a name, ID, label or other value breaks its rule; names the field
├── ConflictError            the request is well-formed, but conflicts with the state of the Server
│   └── PreconditionFailedError
├── SecondOperatorRequiredError      not done yet: another operator must confirm it
├── NotFoundError            the thing named does not exist
├── ForbiddenError           the caller is authenticated, and may not do this
├── NotSignedInError, LoginFailedError, LoginLockedError     an operator's sign-in
│   └── ApiTokenRejectedError                                 (of NotSignedInError)
├── SecondFactorRequiredError, SecondFactorFailedError, SecondFactorMissingError    the password alone is not enough
├── ReauthenticationRequiredError    signed in too long ago for an action that cannot be undone
├── PasswordSignInOffError, IssuerSignInError, IssuerUnavailableError
├── TooManyRequestsError, TooBusyError, TooManyStartsError   retry later
└── RefusedError             an authentication or authorization was refused; the causes are in `refusals`

Each class has a stable `code`: audit, metrics, scripts and dashboards match on it, never on the sentence.
"""

from typing import ClassVar, Final

from lyftdata.core.text import count


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
        self.message: Final = message
        self.hint: Final = hint


class SettingsError(LyftdataError):
    """
    Start-up settings that cannot be used.

    Args:
        problems: One sentence for each fault, naming the variable and what to do; secrets are never quoted.
    """

    code = "bad_settings"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems: Final = problems


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
        self.field: Final = field


class ConflictError(LyftdataError):
    """
    The request conflicts with the state of the Server.

    Args:
        code: Stable code of this conflict, for example `worker_id_taken`.
        message: What the conflict is.
        hint: What to do about it.
    """

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code  # type: ignore[misc]  # one class, a code per conflict


_WRITTEN_OTHERWISE = {"worker": "Worker", "api_key": "API key", "api_token": "API token"}


class NotFoundError(LyftdataError):
    """
    The thing named does not exist.

    Args:
        noun: What was looked for, for example `worker`; the code becomes `worker_not_found`.
        name: The name that was looked up.
        hint: What may have been meant.
    """

    def __init__(self, noun: str, name: str, *, hint: str = "") -> None:
        shown = _WRITTEN_OTHERWISE.get(noun, noun.replace("_", " "))
        super().__init__(f"There is no {shown} '{name}'.", hint=hint)
        self.code = f"{noun}_not_found"  # type: ignore[misc]  # one class, a code per noun


class ForbiddenError(LyftdataError):
    """The caller is authenticated, and may not do this."""

    code = "forbidden"


class PreconditionFailedError(ConflictError):
    """The object was changed since the caller read it."""


class LoginFailedError(LyftdataError):
    """Name or password is wrong. Enumeration: the error does not say which."""

    code = "login_failed"


class DeviceLoginError(LyftdataError):
    """
    A sign-in by device code that is not, or not yet, a session.

    Args:
        code: `authorization_pending`, `slow_down`, `access_denied` or `expired_token` (RFC 8628, section 3.5), or `unknown_code` if
            an operator typed a user code that belongs to no sign-in.
        message: What that means.
        hint: What to do.
    """

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code  # type: ignore[misc]  # one class, the codes of the standard


class LoginLockedError(LyftdataError):
    """
    Too many failures.

    Args:
        wait_s: Seconds until the next attempt is checked.
    """

    code = "login_locked"

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"Too many failed sign-ins. Try again in {count(wait_s, 'second')}.")
        self.wait_s: Final = wait_s


class SecondFactorRequiredError(LyftdataError):
    """The password was right, but the operator also has a second factor; there is no session until it has been checked."""

    code = "second_factor_required"

    def __init__(self) -> None:
        super().__init__(
            "Enter the code of your second factor.",
            hint="Send it as `code`. From a script: lyftdata login --password-stdin, with the code on a second line. "
            "With a passkey, sign in by your browser: lyftdata login --device",
        )


class SecondFactorFailedError(LyftdataError):
    """The code or passkey is wrong, belongs to another operator, or was used before."""

    code = "second_factor_failed"


class SecondFactorMissingError(LyftdataError):
    """The settings require a second factor, and the session was opened without one."""

    code = "second_factor_missing"

    def __init__(self) -> None:
        super().__init__(
            "This Server requires a second factor, and you signed in without one.",
            hint="Set one up: lyftdata second-factor setup",
        )


class ReauthenticationRequiredError(LyftdataError):
    """
    The operator is signed in, but must authenticate again, because the action cannot be undone.

    Args:
        within_s: How many seconds ago the last authentication may have been.
    """

    code = "reauthentication_required"

    def __init__(self, within_s: int) -> None:
        super().__init__(
            "This cannot be undone: confirm first that it is you.",
            hint="Sign in again: lyftdata login",
        )
        self.within_s: Final = within_s


class SecondOperatorRequiredError(LyftdataError):
    """
    Nothing was done yet: another operator must confirm the action, and a request for that was made.

    Args:
        request_id: ID of the request.
        statement: What will be done once it is confirmed.
        expires_at: Until when it can be confirmed, as text.
        confirmers: The names of the operators who can confirm; empty if the caller may not know them.
    """

    code = "second_operator_required"

    def __init__(self, request_id: str, *, statement: str, expires_at: str, confirmers: list[str]) -> None:
        who = " or ".join(confirmers) if confirmers else "another admin"
        super().__init__(
            f"Nothing was done yet. Another operator must confirm it: {statement}",
            hint=f"Request {request_id} waits until {expires_at} for {who}: lyftdata requests confirm {request_id}, or the page Requests.",
        )
        self.request_id: Final = request_id
        self.confirmers: Final = confirmers


class PasswordSignInOffError(LyftdataError):
    """The settings do not allow signing in with a password."""

    code = "password_sign_in_off"


class IssuerSignInError(LyftdataError):
    """
    A sign-in at the OpenID Connect issuer that is refused.

    Args:
        code: Stable code of the reason, for example `no_role`.
        message: What is wrong; contains nothing that the caller sent.
        hint: What to do about it.
    """

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code  # type: ignore[misc]  # one class, a code per reason


class IssuerUnavailableError(LyftdataError):
    """The OpenID Connect issuer gave no usable answer; `detail` is for the log."""

    code = "issuer_unavailable"

    def __init__(self, detail: str) -> None:
        super().__init__(
            "Your identity provider cannot be reached, or its answer cannot be used.",
            hint="Try again in a minute. On the Server's host `lyftdata doctor` says what is wrong.",
        )
        self.detail: Final = detail


class NotSignedInError(LyftdataError):
    """No session, or one that has ended."""

    code = "not_signed_in"


class ApiTokenRejectedError(NotSignedInError):
    """
    An API token was rejected.

    Args:
        message: Why; unless `token_name` is given, only what a caller who has not proved the secret may know.
        hint: What to do.
        token_name: The token's name, once its secret was proved.
    """

    code = "api_token_rejected"

    def __init__(self, message: str, *, hint: str = "", token_name: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.token_name: Final = token_name


class TooManyRequestsError(LyftdataError):
    """
    An operator exceeds the rate limit for one operator; Workers take precedence.

    Args:
        wait_s: Seconds until the next request is answered.
        detail: What there are too many of.
    """

    code = "too_many_requests"

    def __init__(self, wait_s: float, detail: str = "Too many requests for one operator.") -> None:
        super().__init__(detail, hint="Wait a few seconds.")
        self.wait_s: Final = max(1, round(wait_s))


class TooBusyError(LyftdataError):
    """Too many passwords are waiting to be checked."""

    code = "too_busy"


class TooManyStartsError(LyftdataError):
    """One Worker's program starts more often than the Server can decide which start holds its slot."""

    code = "too_many_starts"

    def __init__(self) -> None:
        super().__init__("Too many polls of one Worker at once.")
