"""What operators configured."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    UniqueConstraint,
    text,
)

from llm_service.storage.tables.columns import (
    ID,
    METADATA,
    RESOURCE_NAME,
    UUID,
    Json,
    Sealed,
    Time,
    string,
)

deployment = Table(
    "deployment",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("uid", string(UUID), nullable=False),
    Column("create_time", Time, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

config_counter = Table(
    "config_counter",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("generation", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

config_versions = Table(
    "config_versions",
    METADATA,
    Column("tenant", string(ID), primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Index(None, "generation"),
)

providers = Table(
    "providers",
    METADATA,
    Column("uid", string(UUID), primary_key=True),
    Column("tenant", string(ID), nullable=False),
    Column("provider_id", string(ID), nullable=False),
    Column("kind", string(64), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("display_name", string(256), nullable=False),
    Column("description", string(4096), nullable=False),
    Column("base_uri", string(2048), nullable=False),
    Column("settings", Json, nullable=False),
    Column("default_credential", string(RESOURCE_NAME), nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("priority", BigInteger),
    Column("weight", BigInteger),
    Column("rate_limits", Json, nullable=False),
    Column("timeouts", Json, nullable=False),
    Column("cancel_policy", string(16)),  # NULL: the kind's
    Column("labels", Json, nullable=False),
    Column("create_time", Time, nullable=False),
    Column("update_time", Time, nullable=False),
    Column("delete_time", Time),
    Column("purge_time", Time),
    UniqueConstraint("tenant", "provider_id"),  # also while soft-deleted: the id stays taken
    Index(None, "create_time", "tenant", "provider_id"),  # everybody's, newest first
)

credentials = Table(
    "credentials",
    METADATA,
    Column("uid", string(UUID), primary_key=True),
    Column(
        "provider_uid",
        string(UUID),
        ForeignKey("providers.uid", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("credential_id", string(ID), nullable=False),
    Column("source_type", string(32), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("secret_version", BigInteger, nullable=False),
    Column("sealed", Sealed, nullable=False),
    Column("reference", string(4096), nullable=False),
    # The default is for replicas of an earlier release, which bound secrets to no origin.
    Column("origin", string(4096), nullable=False, server_default=text("''")),
    Column("obfuscated_secret", string(64), nullable=False),
    Column("display_name", string(256), nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("rejected", Boolean, nullable=False),
    Column("weight", BigInteger),
    Column("rate_limits", Json, nullable=False),
    Column("create_time", Time, nullable=False),
    Column("update_time", Time, nullable=False),
    Column("expire_time", Time),
    Column("last_use_time", Time),
    Column("last_check_time", Time),
    UniqueConstraint("provider_uid", "credential_id"),
)

models = Table(
    "models",
    METADATA,
    Column(
        "provider_uid",
        string(UUID),
        ForeignKey("providers.uid", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("model_id", string(ID), primary_key=True),
    Column("provider_model", string(256), nullable=False),
    Column("origin", string(32), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("aliases", Json, nullable=False),
    Column("display_name", string(256), nullable=False),
    Column("description", string(4096), nullable=False),
    Column("input_modalities", Json, nullable=False),
    Column("output_modalities", Json, nullable=False),
    Column("capabilities", Json, nullable=False),
    Column("context_window_tokens", BigInteger, nullable=False),
    Column("max_output_tokens", BigInteger, nullable=False),
    Column("price", Json),
    Column("dated_prices", Json),  # NULL in rows older than the column
    Column("rate_limits", Json, nullable=False),
    Column("embedding", Json),
    Column("default_params", Json, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("stage", string(32)),
    Column("retire_time", Time),
    Column("replacement_model", string(RESOURCE_NAME), nullable=False),
    Column("sync_time", Time),
    Column("labels", Json, nullable=False),
    Column("priority", BigInteger),
)
