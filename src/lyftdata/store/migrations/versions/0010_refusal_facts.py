"""What a refusal is about, in fields of their own, and when a generation of an API key was rotated."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
oldest_program = "0005"

# An older generation was rotated when the one after it was made.
_ROTATED_AT = """
    UPDATE api_keys SET rotated_at = (
        SELECT newer.created_at FROM api_keys AS newer
        WHERE newer.name = api_keys.name AND newer.generation = api_keys.generation + 1
    )
"""


def upgrade() -> None:
    for name, length in (("api_key", 50), ("other_worker", 64)):
        column = sa.Column(name, sa.String(length=length), server_default=sa.text("''"), nullable=False)
        op.add_column("refusal_attempts", column)
    op.add_column("api_keys", sa.Column("rotated_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(_ROTATED_AT)


def downgrade() -> None:
    op.drop_column("api_keys", "rotated_at")
    op.drop_column("refusal_attempts", "other_worker")
    op.drop_column("refusal_attempts", "api_key")
