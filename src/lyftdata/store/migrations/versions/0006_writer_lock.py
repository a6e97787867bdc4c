"""
The table whose lock the writing Servers take in turn.

Programs of earlier versions take another lock, so that two of different versions would write at once: they must not run on it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
oldest_program = "0006"


def upgrade() -> None:
    # On PostgreSQL it is there already: the lock is held while this runs.
    op.create_table(
        "writer_lock",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_writer_lock")),
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_table("writer_lock")
