"""
How many events operators have skipped, because a receiver rejects them.

An older program does not check that the position is still the one from which it has sent. If an event is skipped while it sends it, the skip is set
back, and the event waits again: it can be skipped once more.
"""

import sqlalchemy as sa
from alembic import op

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None
oldest_program = "0040"

_COUNT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column(
        "event_deliveries", sa.Column("skipped", _COUNT, nullable=False, server_default=sa.text("0"))
    )


def downgrade() -> None:
    op.drop_column("event_deliveries", "skipped")
