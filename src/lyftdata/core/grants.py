"""Decides the audience and the scopes of a Worker's token (RFC 8707, section 2; RFC 6749, section 3.3)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from lyftdata.core.records import ResourceRecord, WorkerRecord
from lyftdata.core.refusals import (
    RefusedError,
    ResourceNotGrantedError,
    ScopeAmbiguousError,
    ScopeNotGrantedError,
    ScopeUnknownError,
)
from lyftdata.core.resources import granted_scopes, is_granted, toggle_root_slash, with_scopes

_MAX_NAMED = 8

GRANT_ERRORS: Mapping[type[RefusedError], str] = {
    ResourceNotGrantedError: "invalid_target",
    ScopeNotGrantedError: "invalid_scope",
    ScopeUnknownError: "invalid_scope",
    ScopeAmbiguousError: "invalid_target",
}
"""The explanation that a Worker with a proved key gets (RFC 8707, section 2, and RFC 6749, section 5.2)."""


class Resources(Protocol):
    """Finds resources."""

    def resources(self) -> Iterable[ResourceRecord]:
        """Iterate over every resource."""
        ...

    def find_resource(self, *, audience: str) -> ResourceRecord | None:
        """Return the resource with this audience, or None."""
        ...


class Grant(msgspec.Struct, frozen=True):
    """The audience of a token, and its scopes there, space-separated."""

    audience: str
    scope: str


def decide_grant(
    worker: WorkerRecord, resources: Resources, *, issuers: Sequence[str], resource: str, scope: str
) -> Grant:
    """
    Decide the audience and the scopes of a token.

    Args:
        worker: The authenticated Worker.
        resources: All resources.
        issuers: The Server's issuer, then its previous ones.
        resource: The requested audience. If empty, the scopes decide; without scopes the token is for the Server.
        scope: The parameter `scope`.

    Raises:
        ResourceNotGrantedError: No such resource, or not for this Worker; the caller cannot tell which.
        ScopeNotGrantedError: The audience has no such scope.
        ScopeUnknownError: No resource was named, and none for this Worker has these scopes.
        ScopeAmbiguousError: No resource was named, and several for this Worker have these scopes.
    """
    if not resource:
        return _grant_by_scope(worker, resources, scope) if scope else Grant(issuers[0], "")
    if resource.rstrip("/") in issuers:
        if scope:
            raise ScopeNotGrantedError("This Server has no scopes.", claimed_worker=worker.id)
        return Grant(issuers[0], "")
    # Audience confusion: `aud` is always an operator's spelling of a registered resource, never the caller's text, so no Worker
    # can have a token minted for a service of its choice.
    record = _find(resources, resource)
    if record is None or not is_granted(record, worker):
        # Enumeration: one error for "does not exist" and "not granted"; only the detail for operators says which. Otherwise any
        # Worker could list the services of the deployment.
        detail = (
            "There is no such resource." if record is None else f"Resource '{record.name}' is not for it."
        )
        raise ResourceNotGrantedError(f"{detail} Asked for: {resource[:256]}", claimed_worker=worker.id)
    # Privilege escalation: a scope that the resource does not have is refused, not dropped, so a client never believes that it
    # got a scope that it did not get (RFC 6749, section 3.3).
    scopes = granted_scopes(record, scope)
    if scopes is None:
        raise ScopeNotGrantedError(f"Resource '{record.name}'.", claimed_worker=worker.id)
    return Grant(record.audience, " ".join(scopes))


def _find(resources: Resources, audience: str) -> ResourceRecord | None:
    """Find the resource that a Worker names; the `aud` of its token is the audience as the operator wrote it."""
    found = resources.find_resource(audience=audience)
    alternative = toggle_root_slash(audience)
    if found is not None or alternative is None:
        return found
    return resources.find_resource(audience=alternative)


def _grant_by_scope(worker: WorkerRecord, resources: Resources, scope: str) -> Grant:
    """Choose the one resource of this Worker that has all of these scopes, for clients that cannot send `resource`."""
    asked_for = sorted(set(scope.split()))
    having = with_scopes(resources.resources(), asked_for)
    granted = [resource for resource in having if is_granted(resource, worker)]
    if not granted:
        raise ScopeUnknownError(_scope_detail(scope, having, "are not for it"), claimed_worker=worker.id)
    # Confused deputy: with several candidates a guess could send the token, and with it the Worker's rights, to the wrong service.
    if len(granted) > 1:
        raise ScopeAmbiguousError(_scope_detail(scope, granted, "have it"), claimed_worker=worker.id)
    return Grant(granted[0].audience, " ".join(asked_for))


def _scope_detail(scope: str, resources: Sequence[ResourceRecord], verb: str) -> str:
    """Return the detail: the requested scopes and the resources concerned, both bounded."""
    named = ", ".join(sorted(f"'{resource.name}'" for resource in resources)[:_MAX_NAMED])
    return f"Asked for: {scope[:256]}" + (f". Resources that {verb}: {named}" if named else "")
