"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None
oldest_program = "0001"


def upgrade() -> None:

    op.create_table(
        "api_keys",
        sa.Column("public_id", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("for_all_workers", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_by", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("public_id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("name", "generation", name=op.f("uq_api_keys_name_generation")),
    )
    op.create_table(
        "audit_events",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("previous", sa.LargeBinary(length=32), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_events")),
    )
    with op.batch_alter_table("audit_events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_events_action"), ["action"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_events_subject"), ["subject"], unique=False)

    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "operators",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("password_hash", sa.String(length=256), nullable=False),
        sa.Column("must_change_password", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_operators")),
    )
    op.create_table(
        "refusal_attempts",
        sa.Column(
            "number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("reference", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("claimed_worker", sa.String(length=128), nullable=False),
        sa.Column("detail", sa.String(length=512), nullable=False),
        sa.Column("proved", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_refusal_attempts")),
    )
    with op.batch_alter_table("refusal_attempts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_refusal_attempts_reference"), ["reference"], unique=False)

    op.create_table(
        "refusal_groups",
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("claimed_worker", sa.String(length=128), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("count", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_reference", sa.String(length=16), nullable=False),
        sa.Column("last_detail", sa.String(length=512), nullable=False),
        sa.PrimaryKeyConstraint("code", "claimed_worker", "address", name=op.f("pk_refusal_groups")),
    )
    with op.batch_alter_table("refusal_groups", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_refusal_groups_last_at"), ["last_at"], unique=False)

    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.String(length=64), nullable=False),
        sa.Column("algorithm", sa.String(length=16), nullable=False),
        sa.Column("encrypted_private_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("signs_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retires_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_signing_keys")),
    )
    op.create_table(
        "spent_proofs",
        sa.Column("jti", sa.String(length=128), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("jti", name=op.f("pk_spent_proofs")),
    )
    with op.batch_alter_table("spent_proofs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_spent_proofs_expires_at"), ["expires_at"], unique=False)

    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("strategy", sa.String(length=16), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("public_jwk", sa.String(length=512), nullable=True),
        sa.Column("thumbprint", sa.String(length=64), nullable=True),
        sa.Column("enrolled_with", sa.String(length=32), nullable=True),
        sa.Column("enrolled_from", sa.String(length=64), nullable=True),
        sa.Column("superseded_by", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
        sa.UniqueConstraint("thumbprint", name=op.f("uq_workers_thumbprint")),
    )
    with op.batch_alter_table("workers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_workers_name"), ["name"], unique=False)

    op.create_table(
        "admin_sessions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("operator", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("user_agent", sa.String(length=256), nullable=False),
        sa.ForeignKeyConstraint(
            ["operator"], ["operators.name"], name=op.f("fk_admin_sessions_operator"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_admin_sessions")),
        sa.UniqueConstraint("digest", name=op.f("uq_admin_sessions_digest")),
    )
    with op.batch_alter_table("admin_sessions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_admin_sessions_operator"), ["operator"], unique=False)

    op.create_table(
        "api_key_workers",
        sa.Column("public_id", sa.String(length=16), nullable=False),
        sa.Column("worker_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["public_id"],
            ["api_keys.public_id"],
            name=op.f("fk_api_key_workers_public_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("public_id", "worker_id", name=op.f("pk_api_key_workers")),
    )
    with op.batch_alter_table("api_key_workers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_api_key_workers_worker_id"), ["worker_id"], unique=False)

    op.create_table(
        "worker_traces",
        sa.Column("worker_id", sa.String(length=64), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("address", sa.String(length=64), nullable=True),
        sa.Column("api_key_name", sa.String(length=50), nullable=True),
        sa.Column("host", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["worker_id"], ["workers.id"], name=op.f("fk_worker_traces_worker_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("worker_id", name=op.f("pk_worker_traces")),
    )


def downgrade() -> None:

    op.drop_table("worker_traces")
    with op.batch_alter_table("api_key_workers", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_api_key_workers_worker_id"))

    op.drop_table("api_key_workers")
    with op.batch_alter_table("admin_sessions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_admin_sessions_operator"))

    op.drop_table("admin_sessions")
    with op.batch_alter_table("workers", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_workers_name"))

    op.drop_table("workers")
    with op.batch_alter_table("spent_proofs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_spent_proofs_expires_at"))

    op.drop_table("spent_proofs")
    op.drop_table("signing_keys")
    with op.batch_alter_table("refusal_groups", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_refusal_groups_last_at"))

    op.drop_table("refusal_groups")
    with op.batch_alter_table("refusal_attempts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_refusal_attempts_reference"))

    op.drop_table("refusal_attempts")
    op.drop_table("operators")
    op.drop_table("audit_head")
    with op.batch_alter_table("audit_events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_audit_events_subject"))
        batch_op.drop_index(batch_op.f("ix_audit_events_action"))

    op.drop_table("audit_events")
    op.drop_table("api_keys")
