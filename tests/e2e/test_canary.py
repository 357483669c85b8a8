"""A key, a prompt, an answer and a vendor's words stay where they belong: they appear nowhere."""

import base64
import gc
import logging
import shutil
import sqlite3
import traceback
from contextlib import closing
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llm_service.bootstrap import foundation
from llm_service.providers.base import Account
from llm_service.providers.failures import VendorError
from llm_service.settings import Settings
from llm_service.telemetry import Telemetry
from llm_service.vault import Keyring, Vault
from tests.contract.vendor_server import vendor_server
from tests.e2e.canaries import KEY, MARKER, MODEL, SECRETS, Exercise, leaks
from tests.e2e.process import database_in, log_in, serving
from tests.e2e.service import running, settings_in

EVERY_FAILURE = {
    "ALREADY_EXISTS",
    "FAILED_PRECONDITION",
    "INTERNAL",
    "INVALID_ARGUMENT",
    "RESOURCE_EXHAUSTED",
    "UNAVAILABLE",
}


def dump_of(path) -> str:
    with closing(sqlite3.connect(path)) as database:
        return "\n".join(database.iterdump())


@pytest.fixture(scope="module")
async def exercised(started_once, tmp_path_factory):
    """A service as a process, logging all it can, that has seen every secret; it is stopped."""
    folder = tmp_path_factory.mktemp("canary")
    shutil.copytree(started_once, folder / "data")
    files: dict[str, bytes] = {}
    async with vendor_server() as vendor, serving(folder, LLM_LOG_LEVEL="DEBUG") as process:
        exercise = Exercise(process.service, vendor)
        await exercise.provider()
        await exercise.everything()
        files |= {f"{f.name} while it runs": f.read_bytes() for f in data_files(folder)}
        process.terminate()
        assert await process.ended() == 0
    files |= {f.name: f.read_bytes() for f in data_files(folder)}
    return exercise, folder, files, process


def data_files(folder):
    return sorted(path for path in (folder / "data").rglob("*") if path.is_file())


@given(
    secret=st.sampled_from(sorted(SECRETS.values())),
    before=st.text(max_size=5),
    after=st.text(max_size=5),
    encode=st.sampled_from(
        [
            bytes,
            base64.b64encode,
            base64.urlsafe_b64encode,
            lambda raw: raw.hex().encode(),
            lambda raw: quote(raw, safe="").encode(),
        ]
    ),
)
def test_a_leak_is_found_in_any_encoding(secret, before, after, encode):
    text = encode((before + secret + after).encode())

    assert SECRETS[leaks(text)[0]] == secret


def test_a_leak_is_found_when_its_ends_are_missing():
    assert leaks(f"error: {KEY[8:-4]}") == ["key"]
    assert leaks(f"error: {KEY[:8]} {KEY[-4:]}") == []


async def test_the_vendor_was_given_the_secrets_and_failed_in_every_way(exercised):
    exercise, _, _, _ = exercised

    asked = [each for each in exercise.vendor.asked if each.method == "POST"]
    assert len(asked) > 20
    assert all(leaks(each.headers["authorization"]) == ["key"] for each in asked)
    assert all("prompt" in leaks(each.body) for each in asked)
    assert not exercise.vendor.replies
    assert exercise.codes >= EVERY_FAILURE


async def test_s9_no_status_message_or_metadata_has_a_secret(exercised):
    exercise, _, _, _ = exercised

    assert any(MARKER in text for text in exercise.told)
    assert [text for text in exercise.told if leaks(text)] == []


async def test_s9_no_log_line_has_a_secret(exercised):
    _, folder, _, process = exercised

    log = log_in(folder).read_text()

    assert "DEBUG" in log
    assert "PROVIDER_CREDENTIAL_REJECTED" in log
    assert [line for line in log.splitlines() if leaks(line)] == []
    assert leaks(process.announced) == []


async def test_s9_no_file_of_the_database_has_a_secret_but_sealed(exercised):
    _, folder, files, _ = exercised

    dump = dump_of(database_in(folder))

    assert any("-wal" in name for name in files)
    assert any(MARKER.encode() in content for content in files.values())
    assert {name: leaks(content) for name, content in files.items() if leaks(content)} == {}
    assert MODEL in dump
    assert "'sealed2:fernet-v1:" in dump
    assert leaks(dump) == []


class Everything(logging.Handler):
    """Every record's message, with what a careless formatter would add to it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.careless: list[str] = []

    def emit(self, record) -> None:
        self.lines.append(f"{record.name} {record.getMessage()} {record.args!r}")
        if record.exc_info:
            self.careless += traceback.format_exception(*record.exc_info)


@pytest.fixture
def heard():
    """What this program's own loggers say."""
    handler, logger = Everything(), logging.getLogger("llm_service")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.setLevel(level)
    logger.removeHandler(handler)


async def test_s9_no_span_metric_or_log_record_has_a_secret(
    data_folder, vendor, monkeypatch, heard
):
    spans, metrics = InMemorySpanExporter(), InMemoryMetricReader()

    def telemetry(settings):
        return Telemetry.start(
            service_version="0", span_processor=SimpleSpanProcessor(spans), metric_reader=metrics
        )

    monkeypatch.setattr(foundation, "telemetry_of", telemetry)
    async with running(data_folder) as service:
        exercise = Exercise(service, vendor)
        await exercise.provider()
        await exercise.everything()
        measured = metrics.get_metrics_data().to_json()

    recorded = [span.to_json() for span in spans.get_finished_spans()]
    assert any("PROVIDER_CREDENTIAL_REJECTED" in span for span in recorded)
    assert any(MODEL in span or '"m"' in span for span in recorded)
    assert [span for span in recorded if leaks(span)] == []
    assert "llm_service" in measured or "gen_ai" in measured
    assert leaks(measured) == []
    assert any("PROVIDER_CREDENTIAL_REJECTED" in line for line in heard.lines)
    assert [line for line in heard.lines + heard.careless if leaks(line)] == []


def ours() -> list[object]:
    """Every live object of this program's own classes; no generated messages, no SQL."""
    return [
        each
        for each in gc.get_objects()
        if str(getattr(type(each), "__module__", "")).startswith("llm_service")
        and not type(each).__module__.startswith(("llm_service.rpc.stubs", "llm_service.storage"))
    ]


async def test_s9_no_repr_of_a_live_object_has_the_key(tmp_path, vendor):
    async with running(tmp_path, OPENAI_API_KEY=KEY) as service:
        exercise = Exercise(service, vendor)
        await exercise.provider()
        call = await exercise.held()

        shown = [(type(each).__name__, f"{each!r} {each!s}") for each in ours()]
        leaking = {name for name, text in shown if "key" in leaks(text)}
        call.cancel()
        await vendor.hung_up.wait()

    assert {"Provider", "Credential", "Settings", "Keyring", "Vault"} <= {name for name, _ in shown}
    assert leaking == set()


def test_no_repr_of_what_holds_a_secret_has_it(tmp_path):
    ring = "nG5wVJpNqUe3XGzFqQ3bq0q6m8sT5xkV2lYv7H1cB4A="
    settings: Settings = settings_in(tmp_path, {"LLM_ENCRYPTION_KEY": ring, "OPENAI_API_KEY": KEY})
    keyring = Keyring.from_text(ring)
    said = VendorError(401, (KEY,), KEY, {"message": KEY})
    account = Account("https://v.example", secret=KEY)
    holders = [settings, keyring, Vault(keyring, "d"), account, said]

    shown = [f"{each!r} {each!s}" for each in [*holders, settings.database_url]]

    assert [text for text in shown if leaks(text) or ring[:20] in text] == []
