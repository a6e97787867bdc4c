"""Models of Auto-Enrollment in the admin API."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from lyftdata.core.enrollment_rules import MAX_NETWORKS, MAX_USES
from lyftdata.core.policy import NamePolicy
from lyftdata.core.records import EnrollmentMode
from lyftdata.server.admin.schemas.base import Input, Labels, Moment


class EnrollmentKeyStatus(BaseModel):
    """An enrollment key that the Server accepts, by fingerprint."""

    fingerprint: str
    role: str
    warnings: list[str]
    workers: int
    last_used_at: datetime | None


class PreviousIssuer(BaseModel):
    """A previous public URL of the Server, and how many Workers still sign for it."""

    issuer: str
    workers: int


class EnrollmentStatus(BaseModel):
    """Whether Auto-Enrollment is on: with a key of the settings, listed in `keys`, or with an issued one."""

    enabled: bool
    name_policy: NamePolicy
    keys: list[EnrollmentKeyStatus]
    previous_issuers: list[PreviousIssuer]


EnrollmentKeyState = Literal["live", "expired", "revoked", "used_up"]


class NewEnrollmentKey(Input):
    """
    An enrollment key to issue.

    `worker_name` is a pattern of Worker names with `*` and `?`, null for any; `networks` are in CIDR form, empty for everywhere;
    `labels` are given to each Worker that enrolls with it. The entries of the Workers of an `ephemeral` key are removed when they sign off
    or have been absent for a short time. In mode `approve` Workers wait for approval, except those whose name matches the pattern
    `approve_name` and whose network is in `approve_networks`; a rule that is not set does not count, and without either all wait.
    In mode `warn` a Worker that `worker_name` or `networks` would refuse is admitted and recorded; `max_uses` and the expiry apply in
    every mode.
    """

    name: str
    expires_in_s: Annotated[int, Field(gt=0, le=3650 * 86400)] | None = None
    max_uses: Annotated[int, Field(ge=1, le=MAX_USES)] | None = None
    worker_name: Annotated[str, Field(max_length=64)] | None = None
    networks: Annotated[list[str], Field(max_length=MAX_NETWORKS, default_factory=list)]
    labels: Annotated[Labels, Field(default_factory=dict)]
    ephemeral: bool = False
    mode: EnrollmentMode = EnrollmentMode.AUTO
    approve_name: Annotated[str, Field(max_length=64)] | None = None
    approve_networks: Annotated[list[str], Field(max_length=MAX_NETWORKS, default_factory=list)]


class EnrollmentKeyRotation(Input):
    """
    How long the replaced key still works: for `grace_s` seconds, or until `ends_at`.

    Give at most one of them; with neither it ends at once.
    """

    grace_s: Annotated[int, Field(ge=0, le=90 * 86400)] | None = None
    ends_at: Moment | None = None


class LaggingHost(BaseModel):
    """A host that has enrolled with an older generation of a key since the rotation, and its entry."""

    worker_id: str
    worker_name: str
    address: str | None
    enrolled_at: datetime


class PreviousEnrollmentKey(BaseModel):
    """
    An older generation of a key that still works, and the hosts that have used it since it was rotated.

    `ends_in_s` counts down to `expires_at`. For the previous key of the settings it is not known when it was rotated, so no hosts are
    listed.
    """

    fingerprint: str
    expires_at: datetime | None
    ends_in_s: int | None
    hosts: list[LaggingHost]


class EnrollmentKey(BaseModel):
    """
    An enrollment key, without the key itself: only its public half is stored.

    `source` is `setting` for `startup`, the key of LYFTDATA_AUTO_ENROLLMENT_KEY, for which the Server knows neither the time of creation
    nor the number of uses. `workers` counts the entries that it has enrolled, in all its generations; each is marked with the fingerprint
    of its generation. `fingerprint` is that of the newest one; `fingerprints` are all, newest first, including those that no longer
    work: they find the Workers of a leaked key. `pending` counts the Workers that wait for approval, `warned` those that a key of mode
    `warn` has enrolled against its rules.
    """

    name: str
    source: Literal["issued", "setting"]
    fingerprint: str
    public_id: str | None
    generation: int
    status: EnrollmentKeyState
    max_uses: int | None
    uses: int | None
    worker_name: str | None
    networks: list[str]
    labels: dict[str, str]
    ephemeral: bool
    mode: EnrollmentMode
    approve_name: str | None
    approve_networks: list[str]
    pending: int
    warned: int
    created_at: datetime | None
    created_by: str | None
    rotated_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    workers: int
    last_used_at: datetime | None
    fingerprints: list[str]
    previous: list[PreviousEnrollmentKey]


class EnrollmentKeys(BaseModel):
    """Every enrollment key: `startup` first, the others by name."""

    items: list[EnrollmentKey]


class NewEnrollmentKeyAnswer(BaseModel):
    """A newly created key: `key` is shown only here."""

    enrollment_key: EnrollmentKey
    key: str
