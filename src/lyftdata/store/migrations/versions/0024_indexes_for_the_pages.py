"""
Indexes for what operators look up: who was lost within the last hour, and the audit log by person and day.

An older program works as before.
"""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None
oldest_program = "0021"


def upgrade() -> None:
    op.create_index(op.f("ix_worker_sessions_ended_at"), "worker_sessions", ["ended_at"])
    op.create_index(op.f("ix_audit_events_actor"), "audit_events", ["actor"])
    op.create_index(op.f("ix_audit_events_at"), "audit_events", ["at"])


def downgrade() -> None:
    op.drop_index(op.f("ix_audit_events_at"), table_name="audit_events")
    op.drop_index(op.f("ix_audit_events_actor"), table_name="audit_events")
    op.drop_index(op.f("ix_worker_sessions_ended_at"), table_name="worker_sessions")
