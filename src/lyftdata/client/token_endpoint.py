"""
Builds token requests, and interprets the answers (RFC 6749, sections 4.4, 5.1 and 5.2); without I/O.

    answer = run(token_exchange(server_url, credential, clock, resource=None, scope=None), send)
    token = read_token(answer)               # None: the answer holds no token
    refusal = read_refusal(answer, signed_by=clock)    # None: the answer is not the Server's
"""

from collections.abc import Generator
from http import HTTPStatus
from typing import Annotated

import msgspec

from lyftdata.bounded_http import Answer, Request
from lyftdata.client.credentials import Credential
from lyftdata.client.server_clock import ServerClock
from lyftdata.client.signing import Signing, offered_signing, sign_for_now
from lyftdata.core.structs import prepare_structs
from lyftdata.core.text import parse_reference

# RFC 8707, and RFC 6749, section 5.2.
AUDIENCE_ERRORS = frozenset({"invalid_target", "invalid_scope"})
_MAX_TEXT = 300


class TokenReply(msgspec.Struct, frozen=True):
    """
    A token and its lifetime.

    Attributes:
        access_token: Only characters that are allowed in a header (RFC 6750, section 2.1).
        expires_in: Seconds.
    """

    access_token: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._~+/-]+=*$", max_length=16_384)]
    expires_in: float

    def __repr__(self) -> str:
        return "TokenReply(***)"


prepare_structs(TokenReply)


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """
    The Server's refusal of a Worker, as received; texts are bounded but not yet cleaned.

    Attributes:
        error: The OAuth error code (RFC 6749, section 5.2).
        reason: A sentence for people.
        reference: An operator finds the whole reason by it; may be empty.
        cause_code: The cause, if the Worker had proved its credential, or empty.
        remedy: What to do about it, or empty.
        final: Whether retrying is pointless.
        retry_after_s: Seconds to wait, or None.
        clock_skew: How far this host's clock is off, if that may be the cause, or empty.
    """

    error: str
    reason: str
    reference: str
    cause_code: str
    remedy: str
    final: bool
    retry_after_s: float | None
    clock_skew: str


def token_exchange(
    server_url: str,
    credential: Credential,
    clock: ServerClock,
    *,
    resource: str | None,
    scope: str | None,
    wait_s: int | None = None,
) -> Generator[Request, Answer, Answer]:
    """
    Request a token; yields requests, is sent the answers, returns the last one.

    Args:
        server_url: The Server: scheme, host and port.
        credential: The credential that the Worker authenticates with.
        clock: Decides which time is signed.
        resource: The audience of the token (RFC 8707); None for the Server.
        scope: The requested scopes (RFC 6749, section 3.3); None for all that are granted to the Worker.
        wait_s: How many seconds the Server may hold the request while the Worker waits for approval (RFC 7240, section 4.3).
    """
    headers = {} if wait_s is None else {"Prefer": f"wait={wait_s}"}
    given = {"resource": resource, "scope": scope}
    wanted = {name: value for name, value in given.items() if value is not None}

    def make(signing: Signing) -> Request:
        form = {"grant_type": "client_credentials"} | credential.form(signing) | wanted
        return Request("POST", f"{server_url}/oauth2/token", headers, form=form)

    if not credential.signs:
        return (yield make(Signing(clock.now())))
    nonce_request = Request("POST", f"{server_url}/oauth2/nonce", form={"client_id": credential.worker_id})
    return (yield from sign_for_now(clock, make, nonce_request=nonce_request))


def read_token(answer: Answer) -> TokenReply | None:
    """Return the token in an answer, or None."""
    if answer.status != HTTPStatus.OK:
        return None
    try:
        return msgspec.json.decode(answer.body, type=TokenReply)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def read_refusal(answer: Answer, *, signed_by: ServerClock | None) -> Refusal | None:
    """
    Return the refusal in an answer; None for an outage, and for an answer that is not the Server's.

    A 429 with a reference is a temporary refusal: the credential is wrong, or (at enrollment) others in this network sent wrong ones and
    this one was not checked. A 429 without a reference is a proxy's, and says nothing about this Worker.

    Args:
        answer: The last answer of an exchange.
        signed_by: The clock used for signing; None if nothing was signed. If the clock is off, the refusal is not final: once it is
            corrected, this Worker is accepted.
    """
    if answer.status == HTTPStatus.REQUEST_TIMEOUT or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return None
    body = answer.json_object()
    error, reference, code = body.get("error"), body.get("reference"), body.get("code")
    if not isinstance(error, str):
        return None
    if not (isinstance(reference, str) or isinstance(code, str) or error in AUDIENCE_ERRORS):
        return None
    final = body.get("final", answer.status != HTTPStatus.TOO_MANY_REQUESTS)
    is_plain = not code and offered_signing(answer) is None
    skew = signed_by.describe_skew() if signed_by is not None and is_plain and signed_by.is_skewed() else ""
    return Refusal(
        error=error,
        reason=_text(body, "error_description"),
        reference=parse_reference(reference),
        cause_code=_text(body, "code"),
        remedy=_text(body, "remedy"),
        final=final is not False and not skew,
        retry_after_s=answer.retry_after_s(),
        clock_skew=skew,
    )


def _text(body: dict[str, object], name: str) -> str:
    value = body.get(name)
    return value[:_MAX_TEXT] if isinstance(value, str) else ""
