"""Databases of the systems whose configuration can be taken over, with the tables they make."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

AGENT_LLM_CONFIGS = """
CREATE TABLE agent_configs (id INTEGER PRIMARY KEY);
CREATE TABLE agent_llm_configs (
    id INTEGER PRIMARY KEY,
    agent_id INTEGER NOT NULL REFERENCES agent_configs(id),
    provider VARCHAR(50) NOT NULL,
    model_name VARCHAR(100) NOT NULL,
    temperature FLOAT DEFAULT 0.7,
    max_tokens INTEGER,
    top_p FLOAT,
    api_key_encrypted VARCHAR(500),
    fallback_provider VARCHAR(50),
    fallback_model VARCHAR(100),
    cost_per_1k_input_tokens FLOAT DEFAULT 0.0,
    cost_per_1k_output_tokens FLOAT DEFAULT 0.0,
    enabled BOOLEAN DEFAULT TRUE,
    created_at DATETIME NOT NULL DEFAULT NOW(),
    updated_at DATETIME NOT NULL DEFAULT NOW(),
    metadata_json TEXT
);
CREATE INDEX ix_agent_llm_configs_agent_id ON agent_llm_configs(agent_id);
CREATE INDEX ix_agent_llm_configs_enabled ON agent_llm_configs(enabled);
CREATE INDEX ix_agent_llm_configs_provider ON agent_llm_configs(provider);
"""

LLMS = """
CREATE TABLE llms (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    provider TEXT NOT NULL,
    model_name TEXT NOT NULL,
    description TEXT,
    auth_meta JSONB DEFAULT '{}'::jsonb,
    config JSONB DEFAULT '{}'::jsonb,
    enabled BOOLEAN DEFAULT true,
    is_default BOOLEAN DEFAULT false,
    priority INTEGER DEFAULT 100,
    scope TEXT DEFAULT 'global',
    owner TEXT,
    created_at TIMESTAMP DEFAULT NOW(),
    updated_at TIMESTAMP DEFAULT NOW()
);
"""

LLM_PROVIDERS = """
CREATE TABLE tenants (id UUID PRIMARY KEY);
CREATE TABLE llm_providers (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id UUID NOT NULL REFERENCES tenants(id),
    provider_type VARCHAR(50) NOT NULL,
    encrypted_api_key TEXT NOT NULL,
    config JSONB DEFAULT '{}',
    is_active BOOLEAN DEFAULT true,
    is_default BOOLEAN DEFAULT false,
    created_at TIMESTAMP DEFAULT NOW(),
    updated_at TIMESTAMP DEFAULT NOW(),
    UNIQUE(tenant_id, provider_type)
);
CREATE INDEX idx_llm_providers_tenant ON llm_providers (tenant_id);
CREATE INDEX idx_llm_providers_active ON llm_providers (tenant_id, is_active);
CREATE TABLE llm_provider_usage (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    provider_id UUID NOT NULL REFERENCES llm_providers(id),
    date DATE NOT NULL,
    model VARCHAR(100) NOT NULL,
    prompt_tokens INTEGER DEFAULT 0,
    completion_tokens INTEGER DEFAULT 0,
    total_cost DECIMAL(10,6) DEFAULT 0,
    request_count INTEGER DEFAULT 0,
    error_count INTEGER DEFAULT 0,
    UNIQUE(provider_id, date, model)
);
CREATE INDEX idx_provider_usage_date ON llm_provider_usage (provider_id, date);
"""

LLM_CONFIG = """
CREATE TABLE llm_providers (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    name VARCHAR(255) NOT NULL,
    provider_type VARCHAR(20) NOT NULL,
    api_base_url TEXT,
    api_key_secret_path TEXT,
    enabled BOOLEAN DEFAULT TRUE,
    validated_at TIMESTAMP
);
CREATE TABLE llm_provider_models (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    provider_id UUID NOT NULL REFERENCES llm_providers(id),
    model_name VARCHAR(255) NOT NULL,
    supports_tools BOOLEAN DEFAULT TRUE,
    supports_embeddings BOOLEAN DEFAULT FALSE,
    context_window INTEGER DEFAULT 4096,
    cost_per_1k_input_tokens DECIMAL(10, 6),
    cost_per_1k_output_tokens DECIMAL(10, 6),
    UNIQUE(provider_id, model_name)
);
CREATE TABLE llm_global_config (
    interaction_type VARCHAR(20) PRIMARY KEY,
    provider_id UUID NOT NULL REFERENCES llm_providers(id),
    model_name VARCHAR(255) NOT NULL,
    temperature DECIMAL(3, 2) DEFAULT 0.7,
    max_tokens INTEGER
);
CREATE TABLE llm_user_config (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id VARCHAR(255) NOT NULL,
    interaction_type VARCHAR(20) NOT NULL,
    provider_id UUID NOT NULL REFERENCES llm_providers(id),
    model_name VARCHAR(255) NOT NULL,
    temperature DECIMAL(3, 2) DEFAULT 0.7,
    max_tokens INTEGER,
    UNIQUE(user_id, interaction_type)
);
"""

_SQLITE = (
    (" DEFAULT gen_random_uuid()", ""),
    ("::jsonb", ""),
    ("NOW()", "CURRENT_TIMESTAMP"),
)
_POSTGRESQL = ((" DATETIME ", " TIMESTAMP "),)


async def fill(url: str, schema: str, **tables: Sequence[Mapping[str, Any]]) -> None:
    """Make the tables, and put rows into them in the order given; objects become JSON."""
    for theirs, ours in _POSTGRESQL if url.startswith("postgresql") else _SQLITE:
        schema = schema.replace(theirs, ours)
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        for statement in filter(str.strip, schema.split(";")):
            await connection.execute(text(statement))
        for table, rows in tables.items():
            for row in rows:
                names = ", ".join(row)
                places = ", ".join(f":{name}" for name in row)
                values = {
                    name: json.dumps(value) if isinstance(value, dict) else value
                    for name, value in row.items()
                }
                insert = text(f"INSERT INTO {table} ({names}) VALUES ({places})")  # noqa: S608
                await connection.execute(insert, values)
    await engine.dispose()


async def change(url: str, statement: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(text(statement))
    await engine.dispose()
