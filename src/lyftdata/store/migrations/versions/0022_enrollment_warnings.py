"""
Enrollment keys of mode `warn`: how many Workers each has enrolled against its rules, and by which key an attempt was refused.

An older program cannot read a key of mode `warn`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None
oldest_program = "0022"


def upgrade() -> None:
    op.add_column(
        "enrollment_keys", sa.Column("warned", sa.Integer(), nullable=False, server_default=sa.text("0"))
    )
    op.add_column(
        "refusal_attempts",
        sa.Column("enrollment_key", sa.String(length=32), nullable=False, server_default=sa.text("''")),
    )
    op.create_index(op.f("ix_refusal_attempts_enrollment_key"), "refusal_attempts", ["enrollment_key"])


def downgrade() -> None:
    op.drop_index(op.f("ix_refusal_attempts_enrollment_key"), table_name="refusal_attempts")
    op.drop_column("refusal_attempts", "enrollment_key")
    op.drop_column("enrollment_keys", "warned")
