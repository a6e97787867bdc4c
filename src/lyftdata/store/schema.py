"""
The tables: portable between SQLite and PostgreSQL, and changed only together with a migration.

No column holds anything that can be used to log in.
"""

import sys
from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    func,
    text,
)
from sqlalchemy.engine import Dialect

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Grows for years, or under a flood: 32 bits are not enough. SQLite numbers rows by itself only if it is called INTEGER.
Count = BigInteger().with_variant(Integer, "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite keeps no zone, so it is put back when read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time: it does not say which instant it means."""
        if value is None:
            return None
        if value.tzinfo is None:
            msg = "a time without a zone"
            raise ValueError(msg)
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give the zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class InternedString(TypeDecorator[str]):
    """Text of which there are few values in many rows, all of which are held in memory."""

    impl = String
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return the one object that holds this text."""
        return None if value is None else sys.intern(value)


workers = Table(
    "workers",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("strategy", String(16), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", InternedString(128), nullable=False),
    Column("public_jwk", String(512)),
    Column("thumbprint", String(64), unique=True),
    Column("enrolled_with", InternedString(32)),
    Column("enrolled_from", String(64)),
    Column("superseded_by", String(64)),
    Column("registration_digest", LargeBinary(32)),
    Column("dpop_bound", Boolean, nullable=False, server_default=false()),
    Column("signs_for", InternedString(256)),
    Column("archived_at", UtcDateTime),
    Column("ephemeral", Boolean, nullable=False, server_default=false()),
    Column("approval", String(16)),
    Column("approval_since", UtcDateTime),
    Column("next_jwk", String(512)),
    Column("next_thumbprint", String(64)),
    Column("rotation_asked_at", UtcDateTime),
    Column("key_since", UtcDateTime),
    Column("disabled_note", String(200)),
    Column("disabled_until", UtcDateTime),
    Index(None, "name"),
    Index(None, "next_thumbprint", unique=True),
    Index(None, "approval"),
)

worker_traces = Table(
    "worker_traces",
    metadata,
    Column("worker_id", String(64), ForeignKey("workers.id", ondelete="CASCADE"), primary_key=True),
    Column("last_seen_at", UtcDateTime),
    Column("address", String(64)),
    Column("api_key_name", String(50)),
    Column("host", JSON, nullable=False),
    # Of `host`, as searches compare it.
    Column("hostname", String(128)),
    Column("agent_version", String(128)),
    Index(None, "agent_version"),
)

signature_counters = Table(
    "signature_counters",
    metadata,
    Column("worker_id", String(64), ForeignKey("workers.id", ondelete="CASCADE"), primary_key=True),
    Column("thumbprint", String(64), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("recent", JSON, nullable=False),
    Column("host", String(64), nullable=False),
    Column("address", String(64), nullable=False),
    Column("admits", String(16), nullable=False),
    Column("admits_until", UtcDateTime),
)

identity_copies = Table(
    "identity_copies",
    metadata,
    Column("worker_id", String(64), ForeignKey("workers.id", ondelete="CASCADE"), primary_key=True),
    Column("reference", String(16), primary_key=True),
    Column("found_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    Column("host", String(64), nullable=False),
    Column("address", String(64), nullable=False),
    Column("other_host", String(64), nullable=False),
    Column("other_address", String(64), nullable=False),
    Column("decision", String(16)),
    Column("decided_at", UtcDateTime),
    Column("decided_by", String(128)),
)

worker_sessions = Table(
    "worker_sessions",
    metadata,
    Column("worker_id", String(64), ForeignKey("workers.id", ondelete="CASCADE"), primary_key=True),
    Column("started_at", UtcDateTime, primary_key=True),
    Column("ended_at", UtcDateTime),
    Column("end", String(64), nullable=False),
    Column("address", String(64), nullable=False),
    Column("host", JSON, nullable=False),
    Index(None, "ended_at"),
)

token_origins = Table(
    "token_origins",
    metadata,
    Column("worker_id", String(64), ForeignKey("workers.id", ondelete="CASCADE"), primary_key=True),
    Column("network", String(64), primary_key=True),
    Column("credential", String(128), primary_key=True),
    Column("audience", String(256), primary_key=True),
    Column("address", String(64), nullable=False),
    Column("first_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    Column("elsewhere_at", UtcDateTime),
    Column("session_address", String(64)),
    Index(None, "credential"),
    Index(None, "elsewhere_at"),
)

HOUR_COLUMNS = tuple(f"h{hour:02}" for hour in range(24))

# `day` is its first moment, and each of the columns of hours how many tokens the Worker got in that hour (UTC).
token_counts = Table(
    "token_counts",
    metadata,
    Column("worker_id", String(64), ForeignKey("workers.id", ondelete="CASCADE"), primary_key=True),
    Column("day", UtcDateTime, primary_key=True),
    *(Column(hour, Integer, nullable=False) for hour in HOUR_COLUMNS),
    Index(None, "day"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("public_id", String(16), primary_key=True),
    Column("name", String(50), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("for_all_workers", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", InternedString(128), nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("rotated_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    Column("last_used_by", String(64)),
    UniqueConstraint("name", "generation"),
)

api_key_workers = Table(
    "api_key_workers",
    metadata,
    Column("public_id", String(16), ForeignKey("api_keys.public_id", ondelete="CASCADE"), primary_key=True),
    Column("worker_id", String(64), primary_key=True),
    Index(None, "worker_id"),
)

enrollment_keys = Table(
    "enrollment_keys",
    metadata,
    Column("public_id", String(16), primary_key=True),
    Column("name", String(50), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("public_key", String(43), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("worker_name", String(64)),
    Column("networks", JSON, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("ephemeral", Boolean, nullable=False, server_default=false()),
    Column("mode", String(16), nullable=False, server_default=text("'auto'")),
    Column("approve_name", String(64)),
    Column("approve_networks", JSON),
    Column("max_uses", Integer),
    Column("uses", Integer, nullable=False, server_default=text("0")),
    Column("warned", Integer, nullable=False, server_default=text("0")),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("rotated_at", UtcDateTime),
    Column("scope", JSON(none_as_null=True)),
    UniqueConstraint("name", "generation"),
)

enrollment_key_uses = Table(
    "enrollment_key_uses",
    metadata,
    Column("fingerprint", String(64), primary_key=True),
    Column("last_used_at", UtcDateTime, nullable=False),
)

resources = Table(
    "resources",
    metadata,
    Column("name", String(50), primary_key=True),
    Column("audience", String(256), nullable=False, unique=True),
    Column("scopes", JSON, nullable=False),
    Column("for_all_workers", Boolean, nullable=False),
    Column("include_enrolled", Boolean, nullable=False),
    Column("worker_ids", JSON, nullable=False),
    Column("worker_names", JSON, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("key_public_id", String(16), unique=True),
    Column("key_digest", LargeBinary(32)),
)

revoked_tokens = Table(
    "revoked_tokens",
    metadata,
    Column("jti", String(64), primary_key=True),
    Column("expires_at", UtcDateTime, nullable=False),
    Index(None, "expires_at"),
)

spent_proofs = Table(
    "spent_proofs",
    metadata,
    Column("jti", String(128), primary_key=True),
    Column("expires_at", UtcDateTime, nullable=False),
    Index(None, "expires_at"),
)

refusal_groups = Table(
    "refusal_groups",
    metadata,
    Column("code", String(64), primary_key=True),
    Column("claimed_worker", String(128), primary_key=True),
    Column("address", String(64), primary_key=True),
    Column("count", Count, nullable=False),
    Column("first_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    Column("last_reference", String(16), nullable=False),
    Column("last_detail", String(512), nullable=False),
    Index(None, "last_at"),
)

refusal_attempts = Table(
    "refusal_attempts",
    metadata,
    Column("number", Count, primary_key=True, autoincrement=True),
    Column("reference", String(16), nullable=False),
    Column("code", String(64), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("address", String(64), nullable=False),
    Column("claimed_worker", String(128), nullable=False),
    Column("detail", String(512), nullable=False),
    Column("proved", Boolean, nullable=False),
    Column("api_key", String(50), nullable=False, server_default=text("''")),
    Column("other_worker", String(64), nullable=False, server_default=text("''")),
    Column("enrollment_key", String(32), nullable=False, server_default=text("''")),
    Index(None, "reference"),
    Index(None, "enrollment_key"),
)

ignored_refusals = Table(
    "ignored_refusals",
    metadata,
    Column("code", String(64), primary_key=True),
    Column("subject", String(128), primary_key=True),
    Column("until", UtcDateTime, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("by", String(128), nullable=False),
    Column("note", String(200), nullable=False),
)

# A row a minute, for a week and a day.
samples = Table(
    "samples",
    metadata,
    Column("at", UtcDateTime, primary_key=True),
    Column("online", Integer, nullable=False),
    Column("admitted", Count, nullable=False),
    Column("refused", Count, nullable=False),
)

# Several Servers on one state (PostgreSQL): who they are, which Workers are connected where, and what each has changed.
servers = Table(
    "servers",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("host", String(64), nullable=False),
    Column("address", String(64), nullable=False),
    Column("version", String(32), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("beat_at", UtcDateTime, nullable=False),
)

presence = Table(
    "presence",
    metadata,
    Column("worker_id", String(64), ForeignKey("workers.id", ondelete="CASCADE"), primary_key=True),
    Column("server_id", String(32), nullable=False),
    Column("boot_id", String(64), nullable=False),
    Column("credential", String(128), nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("address", String(64), nullable=False),
    Column("host", JSON, nullable=False),
    Column("reported_labels", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("state_since", UtcDateTime, nullable=False, server_default=func.now()),
    Index(None, "server_id"),
)

# Numbered in the order of the commits. What is meant by a row is read from where it is kept, as it is by then.
changes = Table(
    "changes",
    metadata,
    Column("seq", Count, primary_key=True, autoincrement=True),
    Column("server_id", String(32), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("key", String(128), nullable=False),
    Column("body", JSON),
    Column("at", UtcDateTime, nullable=False, server_default=func.now()),
    Index(None, "at"),
)

spent_assertions = Table(
    "spent_assertions",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("expires_at", UtcDateTime, nullable=False),
    Index(None, "expires_at"),
)

# No rows: on PostgreSQL the Server that writes holds a lock on the whole table, which takes a right on it.
writer_lock = Table(
    "writer_lock",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
)

# One row: the oldest program that can work with a database of this version, while Servers are upgraded one by one.
schema_floor = Table(
    "schema_floor",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("oldest", String(32), nullable=False),
)

operators = Table(
    "operators",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("password_hash", String(256), nullable=False),
    Column("must_change_password", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("unlocks", Integer, nullable=False, server_default="0"),
    Column("issuer", String(256)),
    Column("subject", String(255)),
    Column("password_expires_at", UtcDateTime),
    Column("scope", JSON(none_as_null=True)),
    Index(None, "issuer", "subject", unique=True),
)

# Networks from which operators have signed in, as keyed hashes.
known_networks = Table(
    "known_networks",
    metadata,
    Column("operator", String(64), ForeignKey("operators.name", ondelete="CASCADE"), primary_key=True),
    Column("digest", LargeBinary(16), primary_key=True),
    Column("used_at", UtcDateTime, nullable=False),
    Index(None, "used_at"),
)

admin_sessions = Table(
    "admin_sessions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("operator", String(64), ForeignKey("operators.name", ondelete="CASCADE"), nullable=False),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("address", String(64), nullable=False),
    Column("user_agent", String(256), nullable=False),
    Column("issuer_session", String(255)),
    Column("authenticated_at", UtcDateTime),
    Column("used_at", UtcDateTime),
    Column("second_factor", String(16)),
    Index(None, "operator"),
)

# Sign-ins by device code that are not finished. Of both codes there are digests alone.
device_logins = Table(
    "device_logins",
    metadata,
    Column("device_digest", LargeBinary(32), primary_key=True),
    Column("user_digest", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("address", String(64), nullable=False),
    Column("host", String(64), nullable=False),
    Column("user_agent", String(256), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("interval_s", Integer, nullable=False),
    Column("asked_at", UtcDateTime),
    Column("session_id", String(32)),
)

# Secrets of authenticator apps are sealed: a copy of the database makes no codes.
second_factors = Table(
    "second_factors",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("operator", String(64), ForeignKey("operators.name", ondelete="CASCADE"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("counter", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime),
    Index(None, "operator"),
)

# Public keys alone: a copy of the database cannot sign in.
passkeys = Table(
    "passkeys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("operator", String(64), ForeignKey("operators.name", ondelete="CASCADE"), nullable=False),
    Column("name", String(64), nullable=False),
    # Unique over all operators (WebAuthn Level 3, section 7.1): a credential names one operator.
    Column("credential_id", LargeBinary(1023), nullable=False, unique=True),
    Column("user_handle", LargeBinary(64), nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("sign_count", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime),
    UniqueConstraint("operator", "name"),
)

# Digests of codes that were not used yet.
recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column("operator", String(64), ForeignKey("operators.name", ondelete="CASCADE"), primary_key=True),
    Column("digest", LargeBinary(32), primary_key=True),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("public_id", String(16), primary_key=True),
    Column("name", String(50), nullable=False, unique=True),
    Column("digest", LargeBinary(32), nullable=False),
    Column("role", String(16), nullable=False),
    # No foreign key: what acted for an operator who was deleted stays listed, revoked.
    Column("operator", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    Column("last_used_from", String(64)),
    Column("scope", JSON(none_as_null=True)),
    Index(None, "operator"),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", String(64), primary_key=True),
    Column("algorithm", String(16), nullable=False),
    Column("encrypted_private_key", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("signs_from", UtcDateTime, nullable=False),
    Column("retires_at", UtcDateTime),
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("number", Count, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(128), nullable=False),
    Column("address", String(64), nullable=False),
    Column("details", JSON, nullable=False),
    Column("previous", LargeBinary(32), nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Index(None, "action"),
    Index(None, "actor"),
    Index(None, "at"),
    Index(None, "subject"),
)

# One row: the last event, so that removing events from the end is found too.
audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", Count, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Column("mac", LargeBinary(32), nullable=False),
)

# Signed checkpoints of the audit log. Each is checked by its signature before anything is concluded from it.
audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("size", Count, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("peaks", LargeBinary, nullable=False),
    Column("note", String(1024), nullable=False),
)

# URL and secrets are sealed: a copy of the database tells neither.
event_destinations = Table(
    "event_destinations",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("transport", String(16), nullable=False),
    Column("endpoint", String(300), nullable=False),
    Column("sealed_target", LargeBinary, nullable=False),
    Column("ca", Text, nullable=False),
    Column("events", JSON, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("previous_secret_until", UtcDateTime),
    Column("paused_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(128), nullable=False),
)

# Apart from the destinations: it is written as events are delivered, and no edit of an operator may overwrite it.
event_deliveries = Table(
    "event_deliveries",
    metadata,
    Column("name", String(64), ForeignKey("event_destinations.name", ondelete="CASCADE"), primary_key=True),
    Column("through", Count, nullable=False),
    Column("holder", String(32)),
    Column("failures", Integer, nullable=False),
    Column("delivered", Count, nullable=False),
    Column("lost", Count, nullable=False),
    Column("last_success_at", UtcDateTime),
    Column("last_error", String(300), nullable=False),
    Column("last_error_at", UtcDateTime),
    Column("next_attempt_at", UtcDateTime),
    Column("failing_since", UtcDateTime),
    Column("rejected_number", Count),
    Column("rejected_since", UtcDateTime),
    Column("rejections", Integer, nullable=False, server_default=text("0")),
    Column("rejection", String(300), nullable=False, server_default=text("''")),
    Column("skipped", Count, nullable=False, server_default=text("0")),
)

# Alerts that were raised and have not ended; each is one event of the audit log, however many Servers see it.
open_alerts = Table(
    "open_alerts",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("raised_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime, nullable=False),
)

# A row for each alert that is snoozed; few, since each has an end within a week.
snoozed_alerts = Table(
    "snoozed_alerts",
    metadata,
    Column("alert", String(64), primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("title", String(300), nullable=False),
    Column("until", UtcDateTime, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("by", String(128), nullable=False),
    Column("note", String(200), nullable=False),
    Column("size", Integer, nullable=False),
    Column("members", Text, nullable=False),
)

# One row at most: no row is no policy.
fleet_policy = Table(
    "fleet_policy",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("warn_below", String(32), nullable=False),
    Column("refuse_below", String(32), nullable=False),
    Column("refuse_from", UtcDateTime),
    Column("set_at", UtcDateTime, nullable=False),
    Column("set_by", String(128), nullable=False),
)

# For which actions a second operator must confirm: one row, or none where that is off.
second_operator_rules = Table(
    "second_operator_rules",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("actions", JSON, nullable=False),
    Column("above", Integer, nullable=False),
    Column("set_at", UtcDateTime, nullable=False),
    Column("set_by", String(128), nullable=False),
)

# What one operator asked for and another confirms. No foreign key to operators: what a deleted one asked for stays readable.
change_requests = Table(
    "change_requests",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("operation", Text, nullable=False),
    Column("operator", String(64), nullable=False),
    Column("api_token", String(64)),
    Column("requester_mark", String(64), nullable=False),
    Column("scope", JSON(none_as_null=True)),
    Column("address", String(64), nullable=False),
    Column("event", Count, nullable=False),
    Column("reason", Text, nullable=False),
    Column("requested_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("state", String(16), nullable=False),
    Column("decided_at", UtcDateTime),
    Column("decided_by", String(128)),
    Column("note", Text, nullable=False),
    Index(None, "state"),
)

# Agents that the policy refuses, by the family of their Workers' names: one that is started again and again may enroll as another Worker
# each time.
refused_agents = Table(
    "refused_agents",
    metadata,
    Column("family", String(128), primary_key=True),
    Column("worker_id", String(64), nullable=False),
    Column("boot_id", String(64), nullable=False),
    Column("version", String(128), nullable=False),
    Column("hostname", String(128), nullable=False),
    Column("address", String(64), nullable=False),
    Column("attempts", Count, nullable=False),
    Column("starts", Count, nullable=False),
    Column("entries", Count, nullable=False),
    Column("first_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    Index(None, "last_at"),
)

# How many agents there were of each version. A version may be any text: of all that have no row of their own it is null.
version_counts = Table(
    "version_counts",
    metadata,
    Column("at", UtcDateTime, primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("version", String(128)),
    Column("workers", Integer, nullable=False),
    Column("is_daily", Boolean, nullable=False),
)
