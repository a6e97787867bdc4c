"""For which issuer an auto-enrolled Worker signs."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
oldest_program = "0005"


def upgrade() -> None:
    op.add_column("workers", sa.Column("signs_for", sa.String(length=256), nullable=True))


def downgrade() -> None:
    op.drop_column("workers", "signs_for")
