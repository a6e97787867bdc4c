"""Ephemeral Workers, and the enrollment keys by which they come."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None
oldest_program = "0005"

_TABLES = ("workers", "enrollment_keys")


def upgrade() -> None:
    for table in _TABLES:
        op.add_column(table, sa.Column("ephemeral", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    for table in _TABLES:
        op.drop_column(table, "ephemeral")
