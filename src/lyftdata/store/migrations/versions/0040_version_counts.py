"""
How many agents there were of each version, over time.

An older program works as before, and counts nothing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None
oldest_program = "0039"


def upgrade() -> None:
    op.create_table(
        "version_counts",
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.String(length=128), nullable=True),
        sa.Column("workers", sa.Integer(), nullable=False),
        sa.Column("is_daily", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("at", "place", name=op.f("pk_version_counts")),
    )


def downgrade() -> None:
    op.drop_table("version_counts")
