"""Log lines: their fields, and what they leave out."""

import json
import logging

import pytest

from llm_service.telemetry import Telemetry, logs

SECRET = "sk-never-logged"


@pytest.fixture(autouse=True)
def restored():
    """The logging of the test run itself, put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(capsys) -> list[str]:
    return capsys.readouterr().err.splitlines()


def fail() -> None:
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        raise RuntimeError(SECRET) from error


def test_a_json_line_has_time_level_logger_message_and_trace(capsys):
    logs.set_up(level="debug")
    telemetry = Telemetry.start(service_version="1")

    logging.getLogger("llm_service.x").debug("said %s", "hello")
    with telemetry.server_call("/a/b") as call:
        logging.getLogger("llm_service.x").info("inside")

    outside, inside = map(json.loads, lines(capsys))
    assert set(outside) == {"time", "level", "logger", "message"}
    assert (outside["level"], outside["logger"]) == ("DEBUG", "llm_service.x")
    assert outside["message"] == "said hello"
    assert outside["time"].endswith("+00:00")
    assert inside["trace_id"] == call.trace_id


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
def test_an_exception_is_logged_by_its_types_and_places_without_its_text(capsys, as_json):
    logs.set_up(as_json=as_json)

    try:
        fail()
    except RuntimeError:
        logging.getLogger("llm_service.x").exception("it broke")

    text = "\n".join(lines(capsys))
    assert SECRET not in text
    assert "it broke" in text
    assert "RuntimeError < ValueError" in text
    assert "test_telemetry_logs.py" in text
    assert "in fail" in text


def test_an_exception_with_its_context_suppressed_is_alone():
    try:
        try:
            raise ValueError(SECRET)
        except ValueError:
            raise json.JSONDecodeError("x", "y", 0) from None
    except json.JSONDecodeError as error:
        described = logs.describe(error)

    assert described == "json.decoder.JSONDecodeError"


def test_a_text_line_is_readable_and_has_the_trace(capsys):
    logs.set_up(as_json=False)
    telemetry = Telemetry.start(service_version="1")

    with telemetry.server_call("/a/b") as call:
        logging.getLogger("llm_service.x").warning("careful")

    [line] = lines(capsys)
    assert line.endswith(f"WARNING llm_service.x: careful [{call.trace_id}]")


@pytest.mark.parametrize("library", ["grpc._cython", "sqlalchemy.engine", "httpx2", "asyncio"])
def test_libraries_stay_quiet_at_debug(capsys, library):
    logs.set_up(level="DEBUG")

    logging.getLogger(library).info(SECRET)
    logging.getLogger(library).warning("worth knowing")

    assert [json.loads(line)["message"] for line in lines(capsys)] == ["worth knowing"]


def test_a_level_that_is_none_is_refused():
    with pytest.raises(ValueError, match="CHATTY"):
        logs.set_up(level="chatty")
