"""
The policy for the versions of agents, and the agents that it refuses.

An older program works as before: it refuses no agent.
"""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0032"
branch_labels = None
depends_on = None
oldest_program = "0022"


def upgrade() -> None:
    op.create_table(
        "fleet_policy",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("warn_below", sa.String(length=32), nullable=False),
        sa.Column("refuse_below", sa.String(length=32), nullable=False),
        sa.Column("refuse_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("set_by", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fleet_policy")),
    )
    op.create_table(
        "refused_agents",
        sa.Column("family", sa.String(length=128), nullable=False),
        sa.Column("worker_id", sa.String(length=64), nullable=False),
        sa.Column("boot_id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=128), nullable=False),
        sa.Column("hostname", sa.String(length=128), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("attempts", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("starts", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("entries", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("family", name=op.f("pk_refused_agents")),
    )
    op.create_index(op.f("ix_refused_agents_last_at"), "refused_agents", ["last_at"])


def downgrade() -> None:
    op.drop_index(op.f("ix_refused_agents_last_at"), table_name="refused_agents")
    op.drop_table("refused_agents")
    op.drop_table("fleet_policy")
