"""`llm-service import` as an operator runs it."""

import sqlite3
from contextlib import closing

from cryptography.fernet import Fernet
from typer.testing import CliRunner

from llm_service.commands import app
from tests.e2e.process import command, stored

CANARY = "sk-canary-0123456789abcdefghij"
TABLE = (
    "CREATE TABLE agent_llm_configs (id INTEGER, agent_id INTEGER, provider TEXT, model_name TEXT,"
    " api_key_encrypted TEXT)"
)


async def test_import_tells_of_each_row_and_its_exit_code_whether_any_is_missing(process_folder):
    old_key, strange = Fernet.generate_key(), Fernet.generate_key()
    secret = Fernet(old_key).encrypt(CANARY.encode()).decode()
    other = process_folder / "other.db"
    with closing(sqlite3.connect(other)) as database:
        database.execute(TABLE)
        sealed_otherwise = Fernet(strange).encrypt(CANARY.encode()).decode()
        rows = [
            (1, 7, "openai", "gpt-4o", secret),
            (2, 8, "openai", "gpt-4o", sealed_otherwise),
        ]
        database.executemany("INSERT INTO agent_llm_configs VALUES (?, ?, ?, ?, ?)", rows)
        database.commit()

    async def run(*words, **environment):
        given = ("--from", "agent-llm-configs", "--key-variable", "OLD_KEY", *words)
        environment = {"IMPORT_DSN": f"sqlite:///{other}", **environment}
        return await command("import", *given, folder=process_folder, **environment)

    dry = await run("--dry-run", OLD_KEY=old_key.decode())
    untouched = stored(process_folder, "SELECT * FROM model_configs")
    done = await run(OLD_KEY=old_key.decode())

    assert (dry.code, done.code) == (3, 3)
    assert dry.out == done.out
    assert not untouched
    assert dry.err.startswith("dry run, nothing was changed: ")
    assert done.out.splitlines()[-1] == "agent_llm_configs[1]: created modelConfigs/agent-7"
    assert "agent_llm_configs[2]: could not import: it was not sealed with the key in OLD_KEY" in (
        done.out
    )
    assert done.err.endswith("3 created, 1 there already, 0 kept, 0 left out, 1 could not import\n")
    for ran in (dry, done):
        assert CANARY not in ran.out + ran.err
        assert secret not in ran.out + ran.err
    [config] = stored(process_folder, "SELECT agent FROM model_configs")
    audited = stored(process_folder, "SELECT principal, changed_resources FROM audit_entries")
    assert config["agent"] == "7"
    assert any("modelConfigs/agent-7" in entry["changed_resources"] for entry in audited)


async def test_import_says_in_one_line_why_it_cannot_begin(process_folder):
    dsn = "postgresql://u:hunter2@127.0.0.1:1/d"
    ran = await command("import", "--from", "llms", "--dsn", dsn, folder=process_folder)

    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "llm-service: the database to import from does not answer\n"


def test_a_tenant_that_cannot_be_is_refused_before_anything_is_read():
    given = ("import", "--from", "llms", "--dsn", "sqlite:///x", "--tenant", "No Tenant")

    ran = CliRunner().invoke(app, given)

    assert ran.exit_code == 2
    assert ran.stderr.startswith("llm-service: --tenant must match ")
