"""
When operators last proved who they are in a session, and when they last used it.

An older program would never ask again, and would let an unused session go on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None
oldest_program = "0030"


def upgrade() -> None:
    op.add_column("admin_sessions", sa.Column("authenticated_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("admin_sessions", sa.Column("used_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("admin_sessions", "used_at")
    op.drop_column("admin_sessions", "authenticated_at")
