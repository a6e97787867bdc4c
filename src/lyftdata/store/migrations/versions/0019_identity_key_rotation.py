"""Identity keys that take the place of others, and rotations that operators asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None
oldest_program = "0005"

_INDEX = "ix_workers_next_thumbprint"


def upgrade() -> None:
    op.add_column("workers", sa.Column("next_jwk", sa.String(512)))
    op.add_column("workers", sa.Column("next_thumbprint", sa.String(64)))
    op.add_column("workers", sa.Column("rotation_asked_at", sa.DateTime(timezone=True)))
    op.add_column("workers", sa.Column("key_since", sa.DateTime(timezone=True)))
    op.create_index(_INDEX, "workers", ["next_thumbprint"], unique=True)


def downgrade() -> None:
    op.drop_index(_INDEX, "workers")
    for column in ("key_since", "rotation_asked_at", "next_thumbprint", "next_jwk"):
        op.drop_column("workers", column)
