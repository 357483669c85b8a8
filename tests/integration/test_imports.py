"""What holds of taking over any other system: twice, dry, and where others stand already."""

from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from llm_service.domain.model_config import Selector
from llm_service.errors import StorageUnavailable
from llm_service.gateway.admin.drafts import ModelConfigDraft
from llm_service.gateway.admin.imports import systems
from llm_service.gateway.admin.imports.steps import Outcome
from llm_service.gateway.admin.model_configs import ModelConfigs
from llm_service.storage.imports import ForeignDatabaseError
from llm_service.vault import Vault
from tests.integration import other_systems as others
from tests.integration.importing import (
    ACME,
    CANARY,
    ONE,
    agent_row,
    agents,
    interactions,
    lines,
    llm_row,
    registry,
    sealed,
    tenant_row,
    tenants,
)


@pytest.fixture(params=sorted(systems.SYSTEMS))
async def filled(request, importing):
    """Each system with something in each of its tables."""
    match request.param:
        case "agent-llm-configs":
            yield (
                await agents(
                    importing,
                    agent_row(1, api_key_encrypted=sealed(CANARY), cost_per_1k_input_tokens=0.3),
                    agent_row(2, agent_id=8, temperature=0.25, metadata_json='{"a": "b"}'),
                ),
                "",
            )
        case "llms":
            yield (
                await registry(
                    importing,
                    llm_row("a", "openai", "gpt-4", is_default=True, config={"temperature": 0.1}),
                    llm_row("b", "openai", "gpt-4o", auth_meta={"api_key": CANARY}, owner="me"),
                ),
                "",
            )
        case "llm-providers":
            config = {"model": "gpt-4", "top_p": 0.5}
            yield (
                await tenants(importing, tenant_row(ONE, "openai", is_default=True, config=config)),
                ACME,
            )
        case _:
            yield (
                await interactions(
                    importing,
                    [{"id": ONE, "name": "OpenAI", "provider_type": "openai"}],
                    [{"id": ONE, "provider_id": ONE, "model_name": "m", "context_window": 1}],
                    [{"interaction_type": "tools", "provider_id": ONE, "model_name": "m"}],
                ),
                "",
            )


async def test_twice_is_as_once_and_what_an_operator_changed_is_kept_and_said(filled):
    one, tenant = filled
    first = await one.run()
    before = await one.everything(tenant)
    second = await one.run()
    between = await one.everything(tenant)
    config = next(iter(before.configs.values()))
    async with one.database.begin() as tx:
        mine = replace(config, display_name="mine")
        await tx.model_configs.update(mine, config.version)
    changed = await one.everything(tenant)

    third = await one.run()

    assert lines(first, Outcome.CREATED)
    assert between == before
    assert lines(second, Outcome.CREATED, Outcome.KEPT, Outcome.FAILED) == []
    assert CANARY not in "\n".join(lines(first + second)) + repr(first)
    assert await one.everything(tenant) == changed
    assert [line.partition(": ")[2] for line in lines(third, Outcome.KEPT)] == [
        f"kept {config.name}: it is there already, and differs from this row"
    ]


async def test_a_dry_run_says_what_a_run_does_and_changes_nothing(filled):
    one, tenant = filled
    before = await one.everything(tenant)

    async with one.database.rehearsal() as rehearsal:
        dry = await one.run(rehearsal)

    assert await one.everything(tenant) == before
    assert lines(dry) == lines(await one.run())


async def test_a_provider_of_another_kind_or_a_deleted_one_is_not_built_on(importing_here):
    one = await agents(
        importing_here,
        agent_row(1, fallback_provider="claude", fallback_model="c"),
        agent_row(2, agent_id=8, provider="claude", model_name="c"),
        agent_row(3, agent_id=9, provider="deepseek", model_name="d"),
    )
    await one.run()
    async with one.database.begin() as tx:
        for provider_id in ("anthropic", "deepseek"):
            stored = await tx.providers.get("", provider_id)
            changed = replace(stored, kind="echo")
            if provider_id == "deepseek":
                changed = replace(stored, delete_time=stored.create_time)
            await tx.providers.update(changed, stored.version)
        for config_id in ("agent-7", "agent-8"):
            await tx.model_configs.delete("", config_id, None)

    report = await one.run()

    failed = lines(report, Outcome.FAILED)
    assert [
        target.model for target in (await one.everything()).configs["modelConfigs/agent-7"].targets
    ] == ["providers/openai/models/gpt-4o"]
    assert any("providers/anthropic: it is there already, of kind echo" in line for line in failed)
    assert any("providers/deepseek: it is there already, and was deleted" in one for one in failed)
    assert any("agent-8: what it would use first was not imported" in line for line in failed)
    assert any("models/c of modelConfigs/agent-7: no such provider" in line for line in failed)


async def test_a_table_or_a_column_that_is_missing_is_named(importing_here):
    one = importing_here("llms")
    await others.fill(one.url, "CREATE TABLE something (id TEXT)")
    with pytest.raises(ForeignDatabaseError, match="no table llms"):
        await one.run()
    await others.change(one.url, "CREATE TABLE llms (id TEXT, name TEXT)")
    with pytest.raises(ForeignDatabaseError, match="no column provider, model_name"):
        await one.run()


@pytest.mark.parametrize(
    ("dsn", "error"),
    [
        ("no url", ForeignDatabaseError),
        ("mysql://u:secret@h/d", ForeignDatabaseError),
        ("sqlite://", ForeignDatabaseError),
        ("sqlite:////nowhere/at/all.db", ForeignDatabaseError),
        ("postgresql://u:secret@127.0.0.1:1/d", StorageUnavailable),
    ],
)
async def test_a_database_that_cannot_be_read_says_so_without_its_password(dsn, error):
    with pytest.raises(error) as failure:
        await systems.read("llms", dsn)

    assert "secret" not in str(failure.value)


async def test_the_other_database_is_only_read(tmp_path):
    path = tmp_path / "other.db"
    await others.fill(f"sqlite+aiosqlite:///{path}", others.LLMS, llms=[llm_row("a", "b", "c")])
    before = path.read_bytes()

    tables = await systems.read("llms", f"sqlite:///{path}")

    assert [row["name"] for row in tables["llms"]] == ["b c"]
    assert path.read_bytes() == before


async def test_without_a_key_ring_no_secret_is_kept_and_each_row_says_so(importing_here):
    one = await tenants(importing_here, tenant_row(ONE, "openai"))
    one.vault = Vault(None, "deployment")

    report = await one.run()

    assert [line.partition(": could not import ")[0] for line in lines(report)] == [
        f"llm_providers[{ONE}]"
    ]
    assert (await one.everything(ACME)).providers == {}


async def test_a_scope_that_somebody_configured_under_another_id_is_kept(importing_here):
    one = await agents(importing_here, agent_row(1))
    draft = ModelConfigDraft(selector=Selector(agent="7"))
    await ModelConfigs(one.database).create("", "mine", draft)

    report = await one.run()

    assert any("kept modelConfigs/agent-7: " in line for line in lines(report, Outcome.KEPT))
    assert set((await one.everything()).configs) == {"modelConfigs/mine"}


async def test_a_model_that_takes_anothers_id_is_kept_apart(importing_here):
    one = await agents(
        importing_here,
        agent_row(1, model_name="Model.1"),
        agent_row(2, agent_id=8, model_name="model-1"),
    )

    report = await one.run()

    assert lines(report, Outcome.FAILED) == [
        "agent_llm_configs[2]: could not import: providers/openai/models/model-1 is another model "
        "already, of agent_llm_configs[1]"
    ]


async def test_a_database_that_goes_away_ends_the_import(importing_here):
    one = await agents(importing_here, agent_row(1))
    with pytest.raises(StorageUnavailable):
        await one.run(Away())


class Away:
    """A database that does not answer."""

    @asynccontextmanager
    async def begin(self):
        raise StorageUnavailable("the database does not answer")
        yield

    read = begin
