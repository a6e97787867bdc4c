"""
Refusals that operators ignore for a time.

An older program works as before: it shows them as open.
"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None
oldest_program = "0022"


def upgrade() -> None:
    op.create_table(
        "ignored_refusals",
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.String(length=128), nullable=False),
        sa.Column("note", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("code", "subject", name=op.f("pk_ignored_refusals")),
    )


def downgrade() -> None:
    op.drop_table("ignored_refusals")
