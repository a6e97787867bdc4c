"""
Rules of resources: services other than this Server for which Workers may get tokens (RFC 8707).

Default deny: a Worker gets a token for a resource only if an operator has granted it. Privilege escalation: an auto-enrolled
Worker chose its labels and name itself, so selectors by label or name do not match enrolled Workers unless `include_enrolled` is set.
"""

import re
import string
from collections.abc import Iterable, Sequence
from urllib.parse import SplitResult, quote, urlsplit

import msgspec

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.names import check_no_credential
from lyftdata.core.records import ResourceRecord, Strategy, WorkerRecord
from lyftdata.core.token_size import MAX_RESOURCE_LENGTH

MAX_SCOPES = 32
MAX_SELECTORS = 1_000
MAX_SELECTORS_BYTES = 49_152
"""Maximum size of all selectors together, as JSON: one admin API request, or one form, carries all of them."""
_MAX_AUDIENCE = 256
_MAX_SCOPE = 64

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{1,49}")
# RFC 6749, section 3.3: printable ASCII without the space, the quote and the backslash.
_SCOPE = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")
_ROOT_URL = re.compile(r"(https?://[^/?#]+)(/?)", re.IGNORECASE)
# Printable ASCII except `#`. Clients percent-encode more or less of it, and a proof names the URL as it was sent.
_KEPT_IN_TARGET = string.punctuation.replace("#", "")
_URI = re.compile(r"[a-z][a-z0-9+.-]*:[\x21\x24\x26-\x3B\x3D\x3F-\x5B\x5D\x5F\x61-\x7A\x7E%]+", re.IGNORECASE)


def parse_resource_name(text: str) -> str:
    """Read a resource's name: 2 to 50 letters, digits, `-` and `_`, starting with a letter or digit."""
    if not _NAME.fullmatch(text):
        raise InvalidInputError(
            "name", "must be 2 to 50 ASCII letters, digits, '-' or '_', starting with a letter or digit"
        )
    return text


def parse_audience(text: str, *, issuer: str) -> str:
    """
    Parse a resource's audience (`aud`): an absolute URI without a fragment (RFC 8707, section 2).

    A plain word is accepted too, since brokers are configured with one. Audience confusion: this Server's own issuer is refused,
    otherwise tokens for a service would be valid at the Server itself.
    """
    audience = text.strip()
    is_uri = bool(_URI.fullmatch(audience)) and not urlsplit(audience).fragment
    if len(audience) > _MAX_AUDIENCE or not (is_uri or _NAME.fullmatch(audience)):
        raise InvalidInputError(
            "audience", f"must be an absolute URI without a fragment, at most {_MAX_AUDIENCE} characters"
        )
    check_no_credential("audience", audience)
    if audience.rstrip("/") == issuer:
        raise InvalidInputError("audience", "must not be this Server itself")
    return audience


def parse_scopes(texts: Sequence[str]) -> list[str]:
    """Read scopes: at most 32, each 1 to 64 printable ASCII characters without space, quote and backslash."""
    if len(texts) > MAX_SCOPES:
        raise InvalidInputError("scopes", f"must be at most {MAX_SCOPES}")
    for text in texts:
        if len(text) > _MAX_SCOPE or not _SCOPE.fullmatch(text):
            raise InvalidInputError(
                "scopes", f"must be 1 to {_MAX_SCOPE} printable ASCII characters without spaces"
            )
        check_no_credential("scopes", text)
    return sorted(set(texts))


def check_fits_token(audience: str, scopes: Sequence[str]) -> None:
    """
    Refuse an audience and scopes that are too long together: a token for the resource carries all of them.

    Raises:
        InvalidInputError: More than 900 characters.
    """
    length = len(audience) + len(" ".join(scopes))
    if length > MAX_RESOURCE_LENGTH:
        raise InvalidInputError(
            "scopes",
            f"must have at most {MAX_RESOURCE_LENGTH} characters together with the audience, to fit into a worker token; "
            f"these have {length}",
        )


def check_selectors_fit(
    worker_ids: Sequence[str], worker_names: Sequence[str], labels: Sequence[str]
) -> None:
    """
    Refuse selectors that are too large for one request to carry.

    Raises:
        InvalidInputError: More than 48 KiB.
    """
    size = len(msgspec.json.encode([worker_ids, worker_names, labels]))
    if size > MAX_SELECTORS_BYTES:
        raise InvalidInputError(
            "worker_ids",
            f"must be at most {MAX_SELECTORS_BYTES} bytes together with names and labels, as JSON; these are {size}: "
            "choose many Workers by a label",
        )


def service_url(resource: ResourceRecord, target: str) -> str | None:
    """
    Return the URL of a request to a resource's service, or None if the request is not to that service.

    Scheme, host and port are those of the audience. Relay of a DPoP proof: the client chooses its own Host header, so a service
    that received a proof could replay it here with its own name in Host. The service begins at the audience's path.

    Args:
        resource: The service that a proxy stands for. An audience that is not an http or https URL names no host.
        target: Path and query as the client sent them, decoded as Latin-1; untrusted.
    """
    service = urlsplit(resource.audience)
    if service.scheme.lower() not in {"http", "https"} or not service.hostname:
        return None
    # Characters that must not be in a request target are percent-encoded: `#` truncates nothing, and no proof names the result.
    path = quote("/" + target.removeprefix("/"), safe=_KEPT_IN_TARGET, encoding="latin-1")
    if not _is_below(path.partition("?")[0], service.path.rstrip("/")):
        return None
    return f"{service.scheme}://{_host(service)}{path}"


def _host(url: SplitResult) -> str:
    """Return host and port of a URL without user and password."""
    return url.netloc.rpartition("@")[2]


def _is_below(path: str, base: str) -> bool:
    return path == base or path.startswith(f"{base}/")


def is_granted(resource: ResourceRecord, worker: WorkerRecord) -> bool:
    """Return whether a Worker may have tokens for a resource."""
    # An ID is the Server's own, so it identifies a Worker of either strategy.
    if worker.id in resource.worker_ids:
        return True
    # Before names and labels, which an enrolled Worker chose itself: otherwise it could grant itself any resource.
    if worker.strategy is Strategy.AUTO_ENROLLMENT and not resource.include_enrolled:
        return False
    if resource.for_all_workers or worker.name in resource.worker_names:
        return True
    return any(has_label(worker, label) for label in resource.labels)


def granted_scopes(resource: ResourceRecord, requested: str) -> list[str] | None:
    """
    Return the scopes of a token: the requested ones, or all of the resource's if none was requested (RFC 6749, section 3.3).

    Args:
        resource: The resource that the token is for.
        requested: The parameter `scope` as received.

    Returns:
        None if a scope was requested that the resource does not have.
    """
    wanted = requested.split()
    if not wanted:
        return list(resource.scopes)
    return sorted(set(wanted)) if set(wanted) <= set(resource.scopes) else None


def toggle_root_slash(audience: str) -> str | None:
    """
    Return a URL without a path with its final slash added or removed: both are the same URL (RFC 3986, section 6.2.3).

    Programs that parse URLs write the slash, operators omit it. None for a URL with a path, which has only one form.
    """
    found = _ROOT_URL.fullmatch(audience)
    return None if found is None else found[1] + ("" if found[2] else "/")


def with_scopes(resources: Iterable[ResourceRecord], requested: Sequence[str]) -> list[ResourceRecord]:
    """Return the resources that have every one of these scopes."""
    return [resource for resource in resources if all(scope in resource.scopes for scope in requested)]


def has_label(worker: WorkerRecord, selector: str) -> bool:
    """Return whether a Worker has a label, written as `gpu` or `zone=eu-1`."""
    key, separator, value = selector.partition("=")
    return worker.labels.get(key) == value if separator else key in worker.labels
