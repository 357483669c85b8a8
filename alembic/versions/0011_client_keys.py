"""Client keys; and on PostgreSQL a second lock between tenants, row-level security.

A session says for whom it works: `llm.tenant` is a tenant, or "*" for all of them. Without it no
row is there. The owner of the tables is held to this too; a superuser is not.
"""

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# Once a connection has served a transaction it is empty rather than unset; the shared rows' tenant
# is empty too.
_WHO = "nullif(current_setting('llm.tenant', true), '')"
_OWN = f"{_WHO} = '*' OR tenant = {_WHO}"
_OF_OWN_PROVIDER = (
    f"{_WHO} = '*' OR EXISTS (SELECT 1 FROM providers"  # noqa: S608 - our own words
    f" WHERE providers.uid = provider_uid AND providers.tenant = {_WHO})"
)
_OF_SHARED_PROVIDER = (
    "EXISTS (SELECT 1 FROM providers WHERE providers.uid = provider_uid AND providers.tenant = '')"
)
_POLICIES = {
    "providers": _OWN,
    "credentials": _OF_OWN_PROVIDER,
    "models": _OF_OWN_PROVIDER,
    "usage_records": _OWN,
    "client_keys": _OWN,
    "model_configs": _OWN,
    "creations": _OWN,
    "audit_entries": _OWN,
    "audit_chains": _OWN,
}
# A tenant uses what is shared, and so may see it; not its credentials.
_SHARED = {
    "providers": f"{_WHO} IS NOT NULL AND tenant = ''",
    "models": f"{_WHO} IS NOT NULL AND {_OF_SHARED_PROVIDER}",
    "model_configs": f"{_WHO} IS NOT NULL AND tenant = ''",
}


def string(length: int) -> TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "client_keys",
        sa.Column("key_id", string(32), nullable=False),
        sa.Column("tenant", string(128), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("display_name", string(256), nullable=False),
        sa.Column(
            "roles",
            sa.JSON(none_as_null=True).with_variant(
                sa.dialects.postgresql.JSONB(none_as_null=True), "postgresql"
            ),
            nullable=False,
        ),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("pepper_id", string(64), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True)),
        sa.Column("revoke_time", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("key_id", name="pk_client_keys"),
    )
    op.create_index("ix_client_keys_tenant_key_id", "client_keys", ["tenant", "key_id"])
    if op.get_bind().dialect.name == "postgresql":
        for table, condition in _POLICIES.items():
            op.execute(f"CREATE POLICY tenant ON {table} USING ({condition})")
            op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
            op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        for table, condition in _SHARED.items():
            op.execute(f"CREATE POLICY shared ON {table} FOR SELECT USING ({condition})")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in _SHARED:
            op.execute(f"DROP POLICY shared ON {table}")
        for table in _POLICIES:
            op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
            op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
            op.execute(f"DROP POLICY tenant ON {table}")
    op.drop_table("client_keys")
