"""
Parses a token request: the parameters that `POST /oauth2/token` reads, rejects and ignores.

RFC 6749, section 3.2, requires a server to ignore parameters that it does not recognize. A parameter that would change the
token's meaning is recognized here in order to reject it: a client that names an audience, a subject or a limit and gets a
token without it has a token that is valid for something other than it believes (docs/decisions/0019).
"""

from collections.abc import Mapping

import msgspec

from lyftdata.server.http.oauth_errors import OAuthError

_INVALID = "invalid_request"
# By parameter: the error, and what to do. The values of these parameters are never read.
_REFUSED: Mapping[str, tuple[str, str]] = {
    # The audience of the token, or what it may do there, under the names of other servers.
    "aud": ("invalid_target", "name the audience in resource"),
    "audiences": ("invalid_target", "name one audience in resource"),
    "resources": ("invalid_target", "name one audience in resource"),
    "scopes": ("invalid_scope", "name the scopes in scope"),
    # What the token may do, or contain, in terms other than scopes (RFC 9396; OpenID Connect Core, section 5.5; RFC 9101).
    "authorization_details": ("invalid_authorization_details", "no type of it is supported; use scope"),
    "claims": (_INVALID, "the claims of a token cannot be chosen"),
    "request": (_INVALID, "send its contents as parameters of the form"),
    "request_uri": (_INVALID, "send its contents as parameters of the form"),
    # On behalf of someone else (RFC 8693; RFC 7521; RFC 6749, section 4.3).
    **dict.fromkeys(
        (
            "subject_token",
            "subject_token_type",
            "actor_token",
            "actor_token_type",
            "requested_subject",
            "requested_actor",
            "assertion",
            "username",
            "password",
            "login_hint",
            "id_token_hint",
        ),
        (_INVALID, "a token is always for the Worker that authenticates"),
    ),
    # Another kind of token (RFC 8693), or one bound to a key other than by a proof (RFC 9201; RFC 9449).
    "requested_token_type": (_INVALID, "a token is always an access token"),
    "token_format": (_INVALID, "a token is always a JWT"),
    "req_cnf": (_INVALID, "to bind a token to a key, send a DPoP proof"),
    "dpop_jkt": (_INVALID, "to bind a token to a key, send a DPoP proof"),
}


class TokenRequest(msgspec.Struct, frozen=True):
    """What a Worker requests; empty if it leaves that to the Server."""

    resource: str
    scope: str


def read_token_request(form: Mapping[str, str]) -> TokenRequest:
    """
    Read the requested resource and scopes (RFC 6749, section 4.4.2; RFC 8707, section 2).

    `audience` is an alias of `resource`, as in several other servers.

    Args:
        form: The parameters; none of them is empty.

    Raises:
        OAuthError: Another grant, two different audiences, or a rejected parameter.
    """
    _check_grant_type(form)
    if not _REFUSED.keys().isdisjoint(form):
        refused = next(name for name in form if name in _REFUSED)
        error, advice = _REFUSED[refused]
        raise OAuthError(error, f"The parameter {refused} is not supported: {advice}.")
    return TokenRequest(_read_resource(form), _read_scope(form))


def _check_grant_type(form: Mapping[str, str]) -> None:
    grant_type = form.get("grant_type")
    if grant_type is None:
        raise OAuthError(_INVALID, "grant_type is missing.")
    if grant_type != "client_credentials":
        raise OAuthError("unsupported_grant_type", "grant_type must be client_credentials.")


def _read_resource(form: Mapping[str, str]) -> str:
    resource, audience = form.get("resource", ""), form.get("audience", "")
    if resource and audience and resource != audience:
        raise OAuthError("invalid_target", "resource and audience name two services: send one of them.")
    return resource or audience


def _read_scope(form: Mapping[str, str]) -> str:
    scope = form.get("scope", "")
    if scope and not scope.strip():
        # Treated as missing, it would mean all scopes.
        raise OAuthError("invalid_scope", "scope holds nothing but spaces.")
    return scope
