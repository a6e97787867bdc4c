"""
Workers are disabled with a note and an end.

An older program would enable a Worker and leave the end behind, which would enable it once more after it was disabled again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0035"
branch_labels = None
depends_on = None
oldest_program = "0037"


def upgrade() -> None:
    op.add_column("workers", sa.Column("disabled_note", sa.String(length=200), nullable=True))
    op.add_column("workers", sa.Column("disabled_until", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("workers", "disabled_until")
    op.drop_column("workers", "disabled_note")
