"""
Since when a destination of events fails, and which event its receiver rejects.

An older program neither writes nor reads these columns: what they say is valid only together with those that it does write.
"""

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0041"
branch_labels = None
depends_on = None
oldest_program = "0040"

_COUNT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("event_deliveries", sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("event_deliveries", sa.Column("rejected_number", _COUNT, nullable=True))
    op.add_column("event_deliveries", sa.Column("rejected_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "event_deliveries", sa.Column("rejections", sa.Integer(), nullable=False, server_default=sa.text("0"))
    )
    op.add_column(
        "event_deliveries",
        sa.Column("rejection", sa.String(length=300), nullable=False, server_default=sa.text("''")),
    )


def downgrade() -> None:
    for column in ("rejection", "rejections", "rejected_since", "rejected_number", "failing_since"):
        op.drop_column("event_deliveries", column)
