"""The pages and actions that the jump box finds by name, each with the action of the policy table that it needs."""

from collections.abc import Callable, Iterator, Sequence

import msgspec


class Place(msgspec.Struct, frozen=True):
    """A page, or the form for an action; `words` are other search words for it."""

    title: str
    path: str
    action: str
    words: str = ""


PAGES: Sequence[Place] = (
    Place("Overview", "/", "workers.read", "home fleet alerts"),
    Place("Workers", "/workers", "workers.read", "list hosts disable enable delete"),
    Place("Agent versions", "/agent-versions", "fleet_policy.read", "policy fleet upgrade"),
    Place("Auto-Enrollment", "/enrollment", "enrollment.read", "enrollment keys secret rotate revoke"),
    Place("Approvals", "/approvals", "enrollment.read", "pending approve deny"),
    Place("API keys", "/api-keys", "api_keys.read", "rotate revoke"),
    Place("Resources", "/resources", "resources.read", "audiences services"),
    Place("Refusals", "/refusals", "refusals.read", "refused reference"),
    Place("Incident", "/incident", "incident.read", "leak leaked compromised cut off"),
    Place("Audit", "/audit", "audit.read", "log events export"),
    Place("Event destinations", "/event-destinations", "event_destinations.read", "webhooks syslog"),
    Place("Operators", "/operators", "operators.read", "people users"),
    Place("API tokens", "/api-tokens", "api_tokens.read", "automation revoke"),
    Place("Requests", "/requests", "change_requests.read", "confirm second operator approve waiting"),
    Place("A second operator", "/second-operator", "second_operator.read", "two pairs of eyes four rules"),
    Place("Signing keys", "/signing-keys", "signing_keys.read", "jwks"),
    Place("Your account", "/account", "own_account", "sessions sign out"),
)
ACTIONS: Sequence[Place] = (
    Place("New Worker", "/add-worker", "workers.write", "add create"),
    Place("Issue an API key", "/issue-api-key", "api_keys.write", "new create"),
    Place("Issue an enrollment key", "/issue-enrollment-key", "enrollment.write", "new create secret"),
    Place("Add a resource", "/add-resource", "resources.write", "new create audience service"),
    Place("Rotate the signing key", "/signing-keys/rotate", "signing_keys.write", "jwks"),
    Place(
        "Add an event destination", "/add-event-destination", "event_destinations.redirect", "webhook syslog"
    ),
    Place("Issue an API token", "/issue-api-token", "api_tokens.issue", "new create automation"),
    Place("Change your password", "/account/password", "own_account"),
)


def find_places(places: Sequence[Place], text: str, *, is_allowed: Callable[[str], bool]) -> Iterator[Place]:
    """Yield the places that a caller may open and that have words beginning with each word of a text; all for an empty text."""
    wanted = text.casefold().split()
    for place in places:
        names = f"{place.title} {place.words}".casefold().replace("-", " ").split()
        known = [*names, place.title.casefold()]
        if is_allowed(place.action) and all(any(name.startswith(word) for name in known) for word in wanted):
            yield place
