"""
Second factors of operators, and their recovery codes.

An older program would let operators in by their password alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None
oldest_program = "0031"


def upgrade() -> None:
    op.create_table(
        "second_factors",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("operator", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["operator"],
            ["operators.name"],
            name=op.f("fk_second_factors_operator"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_second_factors")),
    )
    op.create_index(op.f("ix_second_factors_operator"), "second_factors", ["operator"])
    op.create_table(
        "recovery_codes",
        sa.Column("operator", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["operator"],
            ["operators.name"],
            name=op.f("fk_recovery_codes_operator"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("operator", "digest", name=op.f("pk_recovery_codes")),
    )
    op.add_column("admin_sessions", sa.Column("second_factor", sa.String(length=16), nullable=True))


def downgrade() -> None:
    op.drop_column("admin_sessions", "second_factor")
    op.drop_table("recovery_codes")
    op.drop_index(op.f("ix_second_factors_operator"), table_name="second_factors")
    op.drop_table("second_factors")
