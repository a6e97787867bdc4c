"""
Host name and version of Workers in columns of their own, for searches.

An older program leaves them as they are, and they are filled in when the Worker is next seen by a newer one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None
oldest_program = "0022"

_TRACES = sa.table(
    "worker_traces",
    sa.column("host", sa.JSON()),
    sa.column("hostname", sa.String()),
    sa.column("agent_version", sa.String()),
)


def upgrade() -> None:
    op.add_column("worker_traces", sa.Column("hostname", sa.String(length=128), nullable=True))
    op.add_column("worker_traces", sa.Column("agent_version", sa.String(length=128), nullable=True))
    op.execute(
        sa.update(_TRACES).values(
            hostname=sa.func.lower(_TRACES.c.host["hostname"].as_string()),
            agent_version=_TRACES.c.host["agent_version"].as_string(),
        )
    )
    op.create_index(op.f("ix_worker_traces_agent_version"), "worker_traces", ["agent_version"])


def downgrade() -> None:
    op.drop_index(op.f("ix_worker_traces_agent_version"), table_name="worker_traces")
    op.drop_column("worker_traces", "agent_version")
    op.drop_column("worker_traces", "hostname")
