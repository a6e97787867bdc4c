"""Finds what needs an operator's attention, with the facts from which pages offer a remedy; the modules next to it find one subject each."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from lyftdata.core.snoozing import SnoozedAlertRecord
from lyftdata.server.admin.alerts.clients import (
    copied_identities,
    inactive_workers,
    more_repeated_registrations,
    more_tokens_from_elsewhere,
    repeated_registrations,
    tokens_from_elsewhere,
)
from lyftdata.server.admin.alerts.copied_passkeys import CopiedPasskeys
from lyftdata.server.admin.alerts.decisions import awaiting_approval, awaiting_second_operator
from lyftdata.server.admin.alerts.ending_keys import expiring_keys, lagging_workers, signing_key_rotation
from lyftdata.server.admin.alerts.event_destinations import event_alerts
from lyftdata.server.admin.alerts.marking import MAX_OF_A_KIND, first_of_a_kind, mark_snoozed
from lyftdata.server.admin.alerts.refused import duplicate_starts, misconfigured, too_old_agents
from lyftdata.server.admin.api_key_queries import ApiKeyQueries
from lyftdata.server.admin.event_destination_queries import EventDestinationQueries
from lyftdata.server.admin.fleet_versions import FleetVersions
from lyftdata.server.admin.refusal_inbox import CaseState, RefusalInbox
from lyftdata.server.admin.repeated_registrations import RepeatedRegistrations
from lyftdata.server.admin.schemas.status import Alert, AlertKind
from lyftdata.server.admin.second_operator.queries import ChangeRequestQueries
from lyftdata.server.admin.token_origin_queries import TokenOriginQueries
from lyftdata.server.admin.worker_queries import WorkerQueries
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.signing_keys import SigningKeys
from lyftdata.server.clock import Clock
from lyftdata.store import Store
from lyftdata.store.tables import snoozed_alerts

_RECENTLY = timedelta(hours=1)
_TOKENS_RECENTLY = timedelta(days=1)


class Alerts:
    """Finds what needs attention, from the operators' read models."""

    def __init__(
        self,
        *,
        workers: WorkerQueries,
        api_keys: ApiKeyQueries,
        inbox: RefusalInbox,
        fleet_versions: FleetVersions,
        token_origins: TokenOriginQueries,
        repeated_registrations: RepeatedRegistrations,
        directory: Directory,
        change_requests: ChangeRequestQueries,
        copied_passkeys: CopiedPasskeys,
        event_destinations: EventDestinationQueries,
        audit_is_intact: Callable[[], bool],
        signing_keys: SigningKeys,
        store: Store,
        warnings: Sequence[str],
        archive_after: timedelta | None,
        clock: Clock,
    ) -> None:
        self._workers = workers
        self._api_keys = api_keys
        self._inbox = inbox
        self._fleet_versions = fleet_versions
        self._token_origins = token_origins
        self._repeated_registrations = repeated_registrations
        self._directory = directory
        self._change_requests = change_requests
        self._copied_passkeys = copied_passkeys
        self._event_destinations = event_destinations
        self._audit_is_intact = audit_is_intact
        self._signing_keys = signing_keys
        self._store = store
        self._warnings = warnings
        self._archive_after = archive_after
        self._clock = clock

    async def find(self) -> list[Alert]:
        """Return what needs attention, the most urgent first; what is snoozed among it, and marked so."""
        now = self._clock()
        records = await self._store.read(lambda conn: snoozed_alerts.list_snoozed(conn, now=now))
        snoozed = {record.alert: record for record in records}
        return [mark_snoozed(alert, snoozed) if alert.key else alert for alert in await self._find(snoozed)]

    async def _find(self, snoozed: Mapping[str, SnoozedAlertRecord]) -> list[Alert]:
        now = self._clock()
        # All that are stored: 500 made-up names must not hide a Worker's refusals.
        cases = await self._inbox.cases(within=_RECENTLY)
        refused = [case for case in cases if case.state is CaseState.OPEN]
        elsewhere = tokens_from_elsewhere(await self._token_origins.from_elsewhere(within=_TOKENS_RECENTLY))
        repeated = repeated_registrations(self._repeated_registrations.groups())
        copies = await self._workers.undecided_copies(limit=MAX_OF_A_KIND)
        return [
            *self.audit_log(),
            *copied_identities(copies, self._directory, now),
            *await self._copied_passkeys.alerts(),
            *first_of_a_kind(duplicate_starts(refused), snoozed),
            *first_of_a_kind(elsewhere, snoozed, more_tokens_from_elsewhere),
            *awaiting_approval(self._directory),
            *awaiting_second_operator(await self._change_requests.pending()),
            *misconfigured(refused),
            *too_old_agents(await self._fleet_versions.refused()),
            *event_alerts(await self._event_destinations.list_all(), now=now),
            *self._settings(),
            *first_of_a_kind(await expiring_keys(self._api_keys, now), snoozed),
            *first_of_a_kind(await lagging_workers(self._api_keys, now), snoozed),
            *await inactive_workers(self._workers, self._archive_after),
            *first_of_a_kind(repeated, snoozed, more_repeated_registrations),
            *signing_key_rotation(self._signing_keys.next_signs_from),
        ]

    def audit_log(self) -> list[Alert]:
        """Return the alert about the audit log, if this Server has found that it was changed or cut; a peer may have found nothing yet."""
        if self._audit_is_intact():
            return []
        return [
            Alert(
                kind=AlertKind.AUDIT_LOG,
                subject="",
                key="audit_log",
                title="The audit log is not what this Server has written",
                detail="See: lyftdata audit verify",
            )
        ]

    def _settings(self) -> list[Alert]:
        return [
            Alert(kind=AlertKind.SETTING, subject="", title=warning, key=warning)
            for warning in self._warnings
        ]
