"""Networks from which operators sign in, and how often an operator was unlocked."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
oldest_program = "0005"


def upgrade() -> None:
    op.create_table(
        "known_networks",
        sa.Column("operator", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=16), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["operator"], ["operators.name"], name=op.f("fk_known_networks_operator"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("operator", "digest", name=op.f("pk_known_networks")),
    )
    op.create_index(op.f("ix_known_networks_used_at"), "known_networks", ["used_at"])
    op.add_column("operators", sa.Column("unlocks", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("operators", "unlocks")
    op.drop_table("known_networks")
