"""Everybody's providers in the order they were made, without sorting all of them.

Revision ID: 0009
Revises: 0002
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

INDEX = "ix_providers_create_time_tenant_provider_id"


def upgrade() -> None:
    op.create_index(INDEX, "providers", ["create_time", "tenant", "provider_id"])


def downgrade() -> None:
    op.drop_index(INDEX, "providers")
