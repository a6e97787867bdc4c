"""
Sign-ins by device code that are not finished.

An older program works as before: it knows no such sign-in.
"""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None
oldest_program = "0022"


def upgrade() -> None:
    op.create_table(
        "device_logins",
        sa.Column("device_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("user_digest", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=64), nullable=False),
        sa.Column("user_agent", sa.String(length=256), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("interval_s", sa.Integer(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("session_id", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("device_digest", name=op.f("pk_device_logins")),
        sa.UniqueConstraint("user_digest", name=op.f("uq_device_logins_user_digest")),
    )


def downgrade() -> None:
    op.drop_table("device_logins")
