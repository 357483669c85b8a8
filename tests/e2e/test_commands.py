"""What each command says and returns."""

import json

import pytest

from llm_service.commands import app
from llm_service.serving import version
from tests.e2e.process import command

ECHO = "providers/echo/models/echo-1"
NOBODY = "127.0.0.1:1"


def is_one_line(text: str) -> bool:
    return text.startswith("llm-service: ") and text.count("\n") == 1 and text.endswith("\n")


async def test_version_prints_the_version():
    ran = await command("version")

    assert (ran.code, ran.out, ran.err) == (0, f"{version()}\n", "")


async def test_help_says_a_whole_sentence_about_every_command():
    ran = await command("--help", COLUMNS="80")

    names = {each.name or each.callback.__name__ for each in app.registered_commands}
    names |= {group.name for group in app.registered_groups}
    said = {
        words[0]: words[1].strip()
        for line in ran.out.partition("Commands:")[2].splitlines()
        if len(words := line.strip().split(maxsplit=1)) == 2
    }
    assert ran.code == 0
    assert set(said) == names
    assert all(sentence.endswith(".") for sentence in said.values())
    assert not any(sentence.endswith("...") for sentence in said.values())


async def test_call_streams_the_text_to_stdout_and_a_summary_to_stderr(process):
    ran = await process.command("call", "--model", "echo-1", "hello brave world")

    assert (ran.code, ran.out) == (0, "hello brave world\n")
    assert ran.err == f"[{ECHO}, stop, 3 tokens in, 3 out, $0.00]\n"


async def test_call_reads_the_prompt_from_stdin_and_obeys_its_options(process):
    ran = await process.command(
        *("call", "--model", ECHO, "--system", "be brief", "--max-tokens", "2", "-"),
        stdin="from standard input",
    )

    assert (ran.code, ran.out) == (0, "from standard \n")
    assert ran.err == f"[{ECHO}, max_output_tokens, 5 tokens in, 2 out, $0.00]\n"


async def test_usage_shows_the_model_and_the_request(process):
    await process.command("call", "--model", "echo-1", "a b c")

    ran = await process.command("usage")

    [row] = [line for line in ran.out.splitlines() if ECHO in line]
    requests, errors, tokens_in, tokens_out, cost = row.split()[2:7]
    assert ran.code == 0
    assert int(requests) >= 1
    assert errors == "0"
    assert int(tokens_in) >= int(tokens_out) >= 3
    assert cost == "$0.00"
    assert "$0.00; days in UTC" in ran.out


async def test_health_is_serving_or_says_what_is_not_there(process):
    whole = await process.command("health")
    one = await process.command("health", "llmservice.v1.UsageService")
    other = await process.command("health", "llmservice.v1.Nothing")

    assert (whole.code, whole.out, whole.err) == (0, "SERVING\n", "")
    assert (one.code, one.out) == (0, "SERVING\n")
    assert (other.code, other.out) == (1, "")
    assert other.err == "llm-service: NOT_FOUND: no service of that name is served here\n"


async def test_health_without_an_address_asks_the_configured_one(process):
    ran = await command("health", LLM_LISTEN=process.address)

    assert (ran.code, ran.out) == (0, "SERVING\n")


@pytest.mark.parametrize(
    "words", [("health",), ("call", "hello"), ("usage",)], ids=lambda words: words[0]
)
async def test_where_nothing_listens_one_line_says_so(words):
    ran = await command(*words, "--address", NOBODY)

    assert ran.code == 1
    assert ran.out == ""
    assert is_one_line(ran.err)
    assert "UNAVAILABLE" in ran.err


async def test_migrate_and_seed_prepare_a_database_and_may_run_again(tmp_path):
    migrated = await command("migrate", folder=tmp_path)
    again = await command("migrate", folder=tmp_path)
    seeded = await command("seed", folder=tmp_path, OPENAI_API_KEY="sk-from-the-environment")
    twice = await command("seed", folder=tmp_path)

    assert migrated.code == 0
    assert migrated.out.startswith("schema is at ")
    assert (again.code, again.out) == (0, migrated.out)
    assert seeded.code == 0
    assert "providers/echo" in seeded.out
    assert "providers/openai" in seeded.out
    assert "sk-from-the-environment" not in seeded.out + seeded.err
    assert "created modelConfigs/reasoning" in seeded.out
    assert "created providers/ollama/models/llama3" in seeded.out
    assert twice.code == 0
    assert "created" not in twice.out


async def test_an_error_of_the_service_is_one_line_with_its_reason(process):
    model = await process.command("call", "--model", "nobodys-model", "hello")
    dimension = await process.command("usage", "--group-by", "colour")

    assert (model.code, model.out) == (1, "")
    assert is_one_line(model.err)
    assert "NOT_FOUND: MODEL_NOT_FOUND: " in model.err
    assert (dimension.code, dimension.out) == (1, "")
    assert is_one_line(dimension.err)
    assert "INVALID_ARGUMENT: INVALID_FIELD: group_by[0]" in dimension.err


async def test_a_bad_address_to_listen_on_is_one_line(tmp_path):
    ran = await command("serve", folder=tmp_path, LLM_LISTEN="nowhere")

    assert (ran.code, ran.out) == (2, "")
    assert is_one_line(ran.err)
    assert "LLM_LISTEN" in ran.err
    assert not (tmp_path / "data").exists()


async def test_bad_settings_are_all_named_and_their_values_are_not_shown(tmp_path):
    ran = await command(
        "serve",
        folder=tmp_path,
        LLM_LISTEN="not-an-address",
        LLM_LOG_LEVEL="deafening",
        LLM_DRAIN_SECONDS="-1",
        LLM_DATABSE_URL="postgresql://user:password@nowhere/db",
    )

    variables = ("LLM_LISTEN", "LLM_LOG_LEVEL", "LLM_DRAIN_SECONDS", "LLM_DATABSE_URL")
    values = ("not-an-address", "deafening", "password")
    assert (ran.code, ran.out) == (2, "")
    assert all(name in ran.err for name in variables)
    assert not any(value in ran.err for value in values)
    assert "Traceback" not in ran.err
    assert ran.err.count("\n") == len(variables)


async def test_an_address_that_is_taken_is_one_line(process, process_folder):
    ran = await command("serve", folder=process_folder, LLM_LISTEN=process.address)

    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"llm-service: cannot listen on {process.address}\n"


async def test_a_database_that_does_not_answer_is_one_line(tmp_path):
    ran = await command(
        "migrate", folder=tmp_path, LLM_DATABASE_URL=f"postgresql://nobody:hidden@{NOBODY}/none"
    )

    assert (ran.code, ran.out) == (1, "")
    assert is_one_line(ran.err)
    assert "hidden" not in ran.err


async def test_a_missing_certificate_is_one_line(process, tmp_path):
    ran = await process.command("call", "--ca-file", str(tmp_path / "none.pem"), "hello")

    assert ran.code == 1
    assert is_one_line(ran.err)
    assert "none.pem: No such file or directory" in ran.err


@pytest.mark.parametrize("words", [("call",), ("usage", "--days", "0"), ("fly",), ("--bad",)])
async def test_a_command_used_wrongly_exits_2_and_says_how_to_get_help(words):
    ran = await command(*words)

    assert (ran.code, ran.out) == (2, "")
    assert "--help" in ran.err
    assert "Traceback" not in ran.err


async def test_without_a_command_it_shows_its_help():
    ran = await command()

    assert ran.code in (0, 2)
    assert "Commands:" in ran.out + ran.err


async def test_usage_is_told_by_any_dimension_time_and_zone_and_as_json(process):
    await process.command("call", "--model", "echo-1", "a b c")

    whole = await process.command(
        *("usage", "--by", "all", "--group-by", "tenant,operation", "--time-zone", "Asia/Tokyo")
    )
    as_json = await process.command("usage", "--json", "--by", "month", "--group-by", "provider")
    zone = await process.command("usage", "--time-zone", "Mars")
    day = await process.command("usage", "--since", "yesterday")

    assert (whole.code, as_json.code) == (0, 0)
    assert "chat" in whole.out
    *rows, last = map(json.loads, as_json.out.splitlines())
    assert rows[-1]["dimensions"] == {"provider": "providers/echo"}
    assert int(last["total"]["request_count"]) >= 1
    assert (zone.code, day.code) == (2, 2)
    assert is_one_line(zone.err)
    assert is_one_line(day.err)


async def test_sums_of_usage_are_checked_and_made_anew(tmp_path):
    await command("migrate", folder=tmp_path)

    checked = await command("usage", "check", folder=tmp_path)
    rebuilt = await command("usage", "rebuild", folder=tmp_path)

    assert (checked.code, checked.out) == (0, "checked 0 days, 0 with differences\n")
    assert (rebuilt.code, rebuilt.out) == (0, "made the sums of 0 days anew\n")
