"""From which networks, by which credentials and for which audiences Workers got tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None
oldest_program = "0005"


def upgrade() -> None:
    op.create_table(
        "token_origins",
        sa.Column("worker_id", sa.String(length=64), nullable=False),
        sa.Column("network", sa.String(length=64), nullable=False),
        sa.Column("credential", sa.String(length=128), nullable=False),
        sa.Column("audience", sa.String(length=256), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("elsewhere_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("session_address", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["worker_id"], ["workers.id"], name=op.f("fk_token_origins_worker_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint(
            "worker_id", "network", "credential", "audience", name=op.f("pk_token_origins")
        ),
    )
    op.create_index(op.f("ix_token_origins_credential"), "token_origins", ["credential"])
    op.create_index(op.f("ix_token_origins_elsewhere_at"), "token_origins", ["elsewhere_at"])


def downgrade() -> None:
    op.drop_table("token_origins")
