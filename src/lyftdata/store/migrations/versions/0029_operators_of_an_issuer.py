"""
Operators who sign in at an OpenID Connect issuer, and passwords for an emergency.

An older program knows neither which sessions end with the issuer's nor that a password for an emergency ends: it would accept both.
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None
oldest_program = "0029"


def upgrade() -> None:
    op.add_column("operators", sa.Column("issuer", sa.String(length=256), nullable=True))
    op.add_column("operators", sa.Column("subject", sa.String(length=255), nullable=True))
    op.add_column("operators", sa.Column("password_expires_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(op.f("ix_operators_issuer_subject"), "operators", ["issuer", "subject"], unique=True)
    op.add_column("admin_sessions", sa.Column("issuer_session", sa.String(length=255), nullable=True))


def downgrade() -> None:
    op.drop_column("admin_sessions", "issuer_session")
    op.drop_index(op.f("ix_operators_issuer_subject"), table_name="operators")
    op.drop_column("operators", "password_expires_at")
    op.drop_column("operators", "subject")
    op.drop_column("operators", "issuer")
