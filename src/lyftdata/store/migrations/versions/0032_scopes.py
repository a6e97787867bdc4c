"""
Operators, API tokens and enrollment keys that are limited to Workers with certain labels.

An older program knows of no limit: it would let an operator who has one see and change everything.
"""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None
oldest_program = "0032"

_TABLES = ("operators", "api_tokens", "enrollment_keys")


def upgrade() -> None:
    for table in _TABLES:
        op.add_column(table, sa.Column("scope", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    for table in _TABLES:
        op.drop_column(table, "scope")
