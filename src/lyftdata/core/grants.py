"""Decides for which audience a Worker gets a token, and with which scopes (RFC 8707, section 2; RFC 6749, section 3.3)."""

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
from lyftdata.core.resources import granted_scopes, is_granted, other_spelling, with_scopes

_MAX_NAMED = 8

GRANT_ERRORS: Mapping[type[RefusedError], str] = {
    ResourceNotGrantedError: "invalid_target",
    ScopeNotGrantedError: "invalid_scope",
    ScopeUnknownError: "invalid_scope",
    ScopeAmbiguousError: "invalid_target",
}
"""What a Worker that has proved its key reads of a refusal (RFC 8707, section 2, and RFC 6749, section 5.2)."""


class Resources(Protocol):
    """The resources that there are."""

    def resources(self) -> Iterable[ResourceRecord]:
        """Iterate over every resource."""
        ...

    def find_resource(self, *, audience: str) -> ResourceRecord | None:
        """Return the resource with this audience, or None."""
        ...


class Grant(msgspec.Struct, frozen=True):
    """For whom a token is, and what it may do there, space-separated."""

    audience: str
    scope: str


def decide_grant(
    worker: WorkerRecord, resources: Resources, *, issuers: Sequence[str], resource: str, scope: str
) -> Grant:
    """
    Say for whom a token is, and what it may do there.

    Args:
        worker: Who has just proved who it is.
        resources: Those that there are.
        issuers: What the Server calls itself, and then what it was called before.
        resource: The audience asked for. If empty, the scopes decide; without scopes the token is for the Server.
        scope: The parameter `scope`.

    Raises:
        ResourceNotGrantedError: No such resource, or not for this Worker; the two read the same.
        ScopeNotGrantedError: It has no such scope.
        ScopeUnknownError: No resource was named, and none for this Worker has these scopes.
        ScopeAmbiguousError: No resource was named, and several for this Worker have these scopes.
    """
    if not resource:
        return _grant_by_scope(worker, resources, scope) if scope else Grant(issuers[0], "")
    if resource.rstrip("/") in issuers:
        if scope:
            raise ScopeNotGrantedError("This Server has no scopes.", claimed_worker=worker.id)
        return Grant(issuers[0], "")
    record = _find(resources, resource)
    if record is None or not is_granted(record, worker):
        detail = (
            "There is no such resource." if record is None else f"Resource '{record.name}' is not for it."
        )
        raise ResourceNotGrantedError(f"{detail} Asked for: {resource[:256]}", claimed_worker=worker.id)
    scopes = granted_scopes(record, scope)
    if scopes is None:
        raise ScopeNotGrantedError(f"Resource '{record.name}'.", claimed_worker=worker.id)
    return Grant(record.audience, " ".join(scopes))


def _find(resources: Resources, audience: str) -> ResourceRecord | None:
    """Find the resource that a Worker names; its token's `aud` is the spelling of the operator."""
    found = resources.find_resource(audience=audience)
    other = other_spelling(audience)
    if found is not None or other is None:
        return found
    return resources.find_resource(audience=other)


def _grant_by_scope(worker: WorkerRecord, resources: Resources, scope: str) -> Grant:
    """Choose the one resource of this Worker that has all of these scopes, for clients that cannot name one."""
    asked_for = sorted(set(scope.split()))
    having = with_scopes(resources.resources(), asked_for)
    granted = [resource for resource in having if is_granted(resource, worker)]
    if not granted:
        raise ScopeUnknownError(_scope_detail(scope, having, "are not for it"), claimed_worker=worker.id)
    if len(granted) > 1:
        raise ScopeAmbiguousError(_scope_detail(scope, granted, "have it"), claimed_worker=worker.id)
    return Grant(granted[0].audience, " ".join(asked_for))


def _scope_detail(scope: str, resources: Sequence[ResourceRecord], verb: str) -> str:
    """Say which scopes were asked for, and which resources that concerns; both may be many."""
    named = ", ".join(sorted(f"'{resource.name}'" for resource in resources)[:_MAX_NAMED])
    return f"Asked for: {scope[:256]}" + (f". Resources that {verb}: {named}" if named else "")
