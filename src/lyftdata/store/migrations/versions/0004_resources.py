"""Services for which Workers may get tokens; tokens that were taken back; the token by which a client manages itself."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
oldest_program = "0004"


def upgrade() -> None:
    op.create_table(
        "resources",
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("audience", sa.String(length=256), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("for_all_workers", sa.Boolean(), nullable=False),
        sa.Column("include_enrolled", sa.Boolean(), nullable=False),
        sa.Column("worker_ids", sa.JSON(), nullable=False),
        sa.Column("worker_names", sa.JSON(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("key_public_id", sa.String(length=16), nullable=True),
        sa.Column("key_digest", sa.LargeBinary(length=32), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_resources")),
        sa.UniqueConstraint("audience", name=op.f("uq_resources_audience")),
        sa.UniqueConstraint("key_public_id", name=op.f("uq_resources_key_public_id")),
    )
    op.create_table(
        "revoked_tokens",
        sa.Column("jti", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("jti", name=op.f("pk_revoked_tokens")),
    )
    op.create_index(op.f("ix_revoked_tokens_expires_at"), "revoked_tokens", ["expires_at"])
    with op.batch_alter_table("workers") as batch:
        batch.add_column(sa.Column("registration_digest", sa.LargeBinary(length=32), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("workers") as batch:
        batch.drop_column("registration_digest")
    op.drop_table("revoked_tokens")
    op.drop_table("resources")
