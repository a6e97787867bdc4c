"""Until when a copy of an identity may make use of the decision that it continues."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None
oldest_program = "0005"


def upgrade() -> None:
    op.add_column("signature_counters", sa.Column("admits_until", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("signature_counters", "admits_until")
