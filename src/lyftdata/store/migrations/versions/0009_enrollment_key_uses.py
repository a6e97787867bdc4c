"""When each enrollment key was last used, by fingerprint."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
oldest_program = "0005"


def upgrade() -> None:
    op.create_table(
        "enrollment_key_uses",
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_enrollment_key_uses")),
    )


def downgrade() -> None:
    op.drop_table("enrollment_key_uses")
