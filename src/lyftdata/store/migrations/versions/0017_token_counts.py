"""How many tokens each Worker got in each hour: one row a Worker and day, one column an hour."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None
oldest_program = "0005"


def upgrade() -> None:
    op.create_table(
        "token_counts",
        sa.Column("worker_id", sa.String(length=64), nullable=False),
        sa.Column("day", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(f"h{hour:02}", sa.Integer(), nullable=False) for hour in range(24)),
        sa.ForeignKeyConstraint(
            ["worker_id"], ["workers.id"], name=op.f("fk_token_counts_worker_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("worker_id", "day", name=op.f("pk_token_counts")),
    )
    op.create_index(op.f("ix_token_counts_day"), "token_counts", ["day"])


def downgrade() -> None:
    op.drop_table("token_counts")
