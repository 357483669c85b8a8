"""E5: every connection the service makes on somebody's behalf goes through the egress guard."""

import ast
import socket
import sys
from pathlib import Path

from tests.e2e.service import asking, running

PACKAGE = Path(__file__).resolve().parents[2] / "llm_service"
DOOR = PACKAGE / "providers" / "egress.py"

CLIENTS = {
    "aiohttp",
    "boto3",
    "botocore",
    "ftplib",
    "http",
    "httpcore",
    "httpx",
    "requests",
    "smtplib",
    "socket",
    "telnetlib",
    "urllib3",
    "websockets",
    "xmlrpc",
}
DIALS = {"create_connection", "create_datagram_endpoint", "open_connection", "sock_connect"}
DIALS |= {"urlopen", "insecure_channel", "secure_channel", "create_unix_connection"}

# Where an operator says whom to connect to, and nobody else does: the command line's own channel
# to a service; AWS's way to the identity the service runs as, behind LLM_ALLOW_WORKLOAD_IDENTITY.
# The collector's exporter (OpenTelemetry's) and PostgreSQL's driver (libpq) dial by themselves,
# from C, to the addresses of LLM_OTLP_ENDPOINT and LLM_DATABASE_URL.
OPERATORS_OWN = {PACKAGE / "commands" / "console.py", PACKAGE / "providers" / "aws.py"}

ANSWER = (
    b'{"id": "c", "model": "m", "choices": [{"message": {"content": "hi"},'
    b' "finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}'
)


def modules():
    return (path for path in PACKAGE.rglob("*.py") if "stubs" not in path.parts)


def test_e5_only_the_guard_imports_what_opens_sockets():
    strays = {
        (str(path.relative_to(PACKAGE)), name)
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        for name in imported(node)
        if name.partition(".")[0] in CLIENTS or name.startswith("urllib.request")
        if path not in {DOOR, *OPERATORS_OWN}
    }

    assert strays == set()


def test_e5_only_the_guard_dials():
    strays = {
        (str(path.relative_to(PACKAGE)), node.attr)
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in DIALS
        if path not in {DOOR, *OPERATORS_OWN}
    }

    assert strays == set()


async def test_e5_at_run_time_every_connection_is_the_guards(vendor, tmp_path, monkeypatch):
    guarded, unguarded = [], []
    connect = socket.socket.connect

    def noted(self, address):
        (guarded if through_the_door() else unguarded).append(address)
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", noted)
    async with running(tmp_path) as service:
        vendor.say(ANSWER)
        await service.add_provider("main", vendor.base_uri)
        await service.completions.Complete(asking("providers/main/models/m"), timeout=30)

    assert guarded == [("127.0.0.1", vendor.port)]
    assert unguarded == []


def through_the_door() -> bool:
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename == str(DOOR):
            return True
        frame = frame.f_back
    return False


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []
