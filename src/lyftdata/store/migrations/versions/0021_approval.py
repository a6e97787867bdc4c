"""
Enrollment keys whose Workers wait for approval.

An older program would let in whatever waits, and would take every key for one that needs no approval.
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None
oldest_program = "0021"


def upgrade() -> None:
    op.add_column("workers", sa.Column("approval", sa.String(length=16), nullable=True))
    op.add_column("workers", sa.Column("approval_since", sa.DateTime(timezone=True), nullable=True))
    op.create_index(op.f("ix_workers_approval"), "workers", ["approval"])
    op.add_column(
        "enrollment_keys",
        sa.Column("mode", sa.String(length=16), nullable=False, server_default=sa.text("'auto'")),
    )
    op.add_column("enrollment_keys", sa.Column("approve_name", sa.String(length=64), nullable=True))
    op.add_column("enrollment_keys", sa.Column("approve_networks", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("enrollment_keys", "approve_networks")
    op.drop_column("enrollment_keys", "approve_name")
    op.drop_column("enrollment_keys", "mode")
    op.drop_index(op.f("ix_workers_approval"), table_name="workers")
    op.drop_column("workers", "approval_since")
    op.drop_column("workers", "approval")
