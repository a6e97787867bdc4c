"""A row a minute, for plots over time."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
oldest_program = "0002"


def upgrade() -> None:
    op.create_table(
        "samples",
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("online", sa.Integer(), nullable=False),
        sa.Column("admitted", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("refused", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("at", name=op.f("pk_samples")),
    )


def downgrade() -> None:
    op.drop_table("samples")
