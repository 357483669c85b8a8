"""The first schema."""

from datetime import UTC, datetime
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def string(length: int) -> TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    create_deployment()
    create_config_counter()
    create_config_versions()
    create_providers()
    create_credentials()
    create_models()
    create_usage_records()


def downgrade() -> None:
    for table in (
        "usage_records",
        "models",
        "credentials",
        "providers",
        "config_versions",
        "config_counter",
        "deployment",
    ):
        op.drop_table(table)


def create_deployment() -> None:
    table = op.create_table(
        "deployment",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("uid", string(36), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_deployment_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployment")),
    )
    row = {"id": 1, "uid": str(uuid4()), "create_time": datetime.now(UTC)}
    op.bulk_insert(table, [row])


def create_config_counter() -> None:
    table = op.create_table(
        "config_counter",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_config_counter_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_config_counter")),
    )
    op.bulk_insert(table, [{"id": 1, "generation": 0}])


def create_config_versions() -> None:
    op.create_table(
        "config_versions",
        sa.Column("tenant", string(128), nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_config_versions")),
    )
    op.create_index(op.f("ix_config_versions_generation"), "config_versions", ["generation"])


def create_providers() -> None:
    op.create_table(
        "providers",
        sa.Column("uid", string(36), nullable=False),
        sa.Column("tenant", string(128), nullable=False),
        sa.Column("provider_id", string(128), nullable=False),
        sa.Column("kind", string(64), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("display_name", string(256), nullable=False),
        sa.Column("description", string(4096), nullable=False),
        sa.Column("base_uri", string(2048), nullable=False),
        sa.Column("settings", JSON, nullable=False),
        sa.Column("default_credential", string(512), nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("priority", sa.BigInteger),
        sa.Column("weight", sa.BigInteger),
        sa.Column("rate_limits", JSON, nullable=False),
        sa.Column("timeouts", JSON, nullable=False),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("update_time", TIME, nullable=False),
        sa.Column("delete_time", TIME),
        sa.Column("purge_time", TIME),
        sa.UniqueConstraint("tenant", "provider_id", name=op.f("uq_providers_tenant_provider_id")),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_providers")),
    )


def create_credentials() -> None:
    op.create_table(
        "credentials",
        sa.Column("uid", string(36), nullable=False),
        sa.Column(
            "provider_uid",
            string(36),
            nullable=False,
        ),
        sa.Column("credential_id", string(128), nullable=False),
        sa.Column("source_type", string(32), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("secret_version", sa.BigInteger, nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("reference", string(4096), nullable=False),
        sa.Column("obfuscated_secret", string(64), nullable=False),
        sa.Column("display_name", string(256), nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("rejected", sa.Boolean, nullable=False),
        sa.Column("weight", sa.BigInteger),
        sa.Column("rate_limits", JSON, nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("update_time", TIME, nullable=False),
        sa.Column("expire_time", TIME),
        sa.Column("last_use_time", TIME),
        sa.Column("last_check_time", TIME),
        sa.UniqueConstraint(
            "provider_uid", "credential_id", name=op.f("uq_credentials_provider_uid_credential_id")
        ),
        sa.ForeignKeyConstraint(
            ["provider_uid"],
            ["providers.uid"],
            name=op.f("fk_credentials_provider_uid_providers"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_credentials")),
    )


def create_models() -> None:
    op.create_table(
        "models",
        sa.Column(
            "provider_uid",
            string(36),
            nullable=False,
        ),
        sa.Column("model_id", string(128), nullable=False),
        sa.Column("provider_model", string(256), nullable=False),
        sa.Column("origin", string(32), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("aliases", JSON, nullable=False),
        sa.Column("display_name", string(256), nullable=False),
        sa.Column("description", string(4096), nullable=False),
        sa.Column("input_modalities", JSON, nullable=False),
        sa.Column("output_modalities", JSON, nullable=False),
        sa.Column("capabilities", JSON, nullable=False),
        sa.Column("context_window_tokens", sa.BigInteger, nullable=False),
        sa.Column("max_output_tokens", sa.BigInteger, nullable=False),
        sa.Column("price", JSON),
        sa.Column("rate_limits", JSON, nullable=False),
        sa.Column("embedding", JSON),
        sa.Column("default_params", JSON, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("stage", string(32)),
        sa.Column("retire_time", TIME),
        sa.Column("replacement_model", string(512), nullable=False),
        sa.Column("sync_time", TIME),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("priority", sa.BigInteger),
        sa.ForeignKeyConstraint(
            ["provider_uid"],
            ["providers.uid"],
            name=op.f("fk_models_provider_uid_providers"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("provider_uid", "model_id", name=op.f("pk_models")),
    )


def create_usage_records() -> None:
    op.create_table(
        "usage_records",
        sa.Column("record_id", string(36), nullable=False),
        sa.Column("completion_id", string(128), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("tenant", string(128), nullable=False),
        sa.Column("agent", string(128), nullable=False),
        sa.Column("user_id", string(128), nullable=False),
        sa.Column("interaction", string(128), nullable=False),
        sa.Column("session", string(128), nullable=False),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("provider", string(512), nullable=False),
        sa.Column("model", string(512), nullable=False),
        sa.Column("credential", string(512), nullable=False),
        sa.Column("provider_model", string(256), nullable=False),
        sa.Column("provider_request_id", string(256), nullable=False),
        sa.Column("model_config", string(512), nullable=False),
        sa.Column("start_time", TIME, nullable=False),
        sa.Column("duration_us", sa.BigInteger, nullable=False),
        sa.Column("first_token_us", sa.BigInteger),
        sa.Column("finish_reason", string(32)),
        sa.Column("error_reason", string(64), nullable=False),
        sa.Column("attempt_error_reason", string(64)),
        sa.Column("error_message", string(512), nullable=False),
        sa.Column("retry_delay_us", sa.BigInteger),
        sa.Column("http_status", sa.Integer, nullable=False),
        sa.Column("provider_code", string(64), nullable=False),
        sa.Column("input_tokens", sa.BigInteger),
        sa.Column("output_tokens", sa.BigInteger),
        sa.Column("cache_read_input_tokens", sa.BigInteger),
        sa.Column("cache_write_input_tokens", sa.BigInteger),
        sa.Column("reasoning_output_tokens", sa.BigInteger),
        sa.Column("modality_tokens", JSON),
        sa.Column("usage_estimated", sa.Boolean),
        sa.Column("cost_nano_usd", sa.BigInteger),
        sa.Column("cost_items", JSON),
        sa.Column("price_version", string(128)),
        sa.Column("cost_estimated", sa.Boolean),
        sa.Column("cost_incomplete", sa.Boolean),
        sa.Column("trace_id", string(32), nullable=False),
        sa.PrimaryKeyConstraint("record_id", name=op.f("pk_usage_records")),
    )
    op.create_index(
        op.f("ix_usage_records_tenant_create_time_record_id"),
        "usage_records",
        ["tenant", "create_time", "record_id"],
    )
    op.create_index(
        op.f("ix_usage_records_create_time_record_id"),
        "usage_records",
        ["create_time", "record_id"],
    )
    op.create_index(op.f("ix_usage_records_completion_id"), "usage_records", ["completion_id"])
