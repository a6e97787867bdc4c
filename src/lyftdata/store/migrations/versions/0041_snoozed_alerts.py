"""
Alerts that operators have snoozed.

An older program works as before: it shows them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None
oldest_program = "0039"


def upgrade() -> None:
    op.create_table(
        "snoozed_alerts",
        sa.Column("alert", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("title", sa.String(length=300), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.String(length=128), nullable=False),
        sa.Column("note", sa.String(length=200), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("members", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("alert", name=op.f("pk_snoozed_alerts")),
    )


def downgrade() -> None:
    op.drop_table("snoozed_alerts")
