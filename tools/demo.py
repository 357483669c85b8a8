"""The demo: a service of its own, a provider, a streamed completion, what it cost, and the end."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from llm_service.rpc.stubs import common_pb2 as common
from llm_service.rpc.stubs import completion_pb2 as completions
from llm_service.rpc.stubs import completion_service_pb2_grpc as completion_service
from llm_service.rpc.stubs import content_pb2 as content
from llm_service.rpc.stubs import model_pb2 as models
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin
from llm_service.rpc.stubs import provider_admin_service_pb2_grpc as admin_service
from llm_service.rpc.stubs import provider_pb2 as providers
from llm_service.rpc.stubs import usage_service_pb2 as usage
from llm_service.rpc.stubs import usage_service_pb2_grpc as usage_service

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / ".data" / "demo"
LOG = DATA / "service.log"
START_SECONDS = 180
STOP_SECONDS = 60
RPC_SECONDS = 60
NANO_PER_USD = 1_000_000_000
TRACE_ID = "llmservice-trace-id"
ADDRESS = re.compile(r"127\.0\.0\.1:[1-9]\d*")

ECHO = providers.Provider(
    kind="echo", display_name="Demo echo", settings={"tokens_per_second": "20"}
)
# Echo is free; a price of one's own shows the sum.
MODEL = models.Model(
    provider_model="echo-1",
    price=models.Price(
        items=[
            models.PriceItem(meter="input-tokens", nano_usd_per_million=2_500_000_000),
            models.PriceItem(meter="output-tokens", nano_usd_per_million=10_000_000_000),
        ]
    ),
)
VENDOR = providers.Provider(
    kind="openai-compatible",
    display_name="Demo vendor, never called",
    base_uri="https://llm.example.com/v1",
)
# A made-up key; the demo shows that it goes in and never comes out.
KEY = providers.Credential(api_key="sk-demo-0123456789-not-a-real-key")
MODEL_NAME = "providers/demo-echo/models/demo-1"
PROMPT = (
    "One typed contract in front of every vendor: this sentence came back through the whole "
    "service, one token at a time, and its price is known to the nano-dollar."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a streamed completion says about itself, besides its text."""

    started: completions.CompletionStarted
    finished: completions.CompletionFinished
    trace_id: str


def main() -> int:
    with service() as address, grpc.insecure_channel(address) as channel:
        configure(channel)
        report(channel, stream(channel))
    say("stopped", "cleanly, exit code 0")
    return 0


@contextmanager
def service() -> Iterator[str]:
    """A service on a free loopback port; yields its address, then stops it and checks how it ended.

    Its output goes to a file, and to the terminal only if it fails to start or to stop.
    """
    DATA.mkdir(parents=True, exist_ok=True)
    say("starting", f"llm-service serve, with an embedded database in {DATA.relative_to(ROOT)}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLM_")}
    environment |= {"LLM_LISTEN": "127.0.0.1:0", "LLM_DATA_DIR": str(DATA)}
    with LOG.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "llm_service", "serve"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield ready(process)
        finally:
            code = stop(process)
    if code != 0:
        fail(f"the service ended with exit code {code}")


def ready(process: subprocess.Popen[bytes]) -> str:
    """The address the service bound, once its health says SERVING."""
    deadline = time.monotonic() + START_SECONDS
    while (bound := ADDRESS.search(LOG.read_text())) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            fail("the service did not start")
        wait(process, 0.05)
    address = bound.group()
    with grpc.insecure_channel(address) as channel:
        replies = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=START_SECONDS, wait_for_ready=True
        )
        for reply in replies:
            if reply.status == health_pb2.HealthCheckResponse.SERVING:
                break
        replies.cancel()
    say("serving", f"{address}, health SERVING")
    return address


def wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def stop(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def configure(channel: grpc.Channel) -> None:
    stub = admin_service.ProviderAdminServiceStub(channel)
    provide(stub, "demo-echo", ECHO)
    provide_model(stub)
    provide(stub, "demo-vendor", VENDOR)
    provide_credential(stub)


def provide_credential(stub: admin_service.ProviderAdminServiceStub) -> None:
    name = "providers/demo-vendor/credentials/main"
    request = admin.CreateCredentialRequest(
        parent="providers/demo-vendor", credential_id="main", credential=KEY
    )
    try:
        stored = stub.CreateCredential(request, timeout=RPC_SECONDS).credential
    except grpc.RpcError as error:
        refuse_unless_there(error)
        stored = stub.GetCredential(
            admin.GetCredentialRequest(name=name), timeout=RPC_SECONDS
        ).credential
    say("credential", f"{stored.name}, sealed; all that is ever shown: {stored.obfuscated_secret}")


def provide(
    stub: admin_service.ProviderAdminServiceStub, provider_id: str, provider: providers.Provider
) -> None:
    request = admin.CreateProviderRequest(provider_id=provider_id, provider=provider)
    try:
        stub.CreateProvider(request, timeout=RPC_SECONDS)
        how = "created"
    except grpc.RpcError as error:
        refuse_unless_there(error)
        how = "there from an earlier run"
    say("provider", f"providers/{provider_id} of kind {provider.kind}, {how}")


def provide_model(stub: admin_service.ProviderAdminServiceStub) -> None:
    request = admin.CreateModelRequest(parent="providers/demo-echo", model_id="demo-1", model=MODEL)
    try:
        stub.CreateModel(request, timeout=RPC_SECONDS)
    except grpc.RpcError as error:
        refuse_unless_there(error)
    say("model", f"{MODEL_NAME}, $2.50 and $10.00 per million tokens in and out")


def refuse_unless_there(error: grpc.RpcError) -> None:
    if not isinstance(error, grpc.Call) or error.code() is not grpc.StatusCode.ALREADY_EXISTS:
        raise error


def stream(channel: grpc.Channel) -> Answer:
    """Print a completion as it comes."""
    request = completions.CompletionRequest(
        model=MODEL_NAME,
        messages=[
            content.Message(role=content.ROLE_USER, parts=[content.ContentPart(text=PROMPT)])
        ],
    )
    started = completions.CompletionStarted()
    finished = completions.CompletionFinished()
    stub = completion_service.CompletionServiceStub(channel)
    call = stub.StreamComplete(request, timeout=RPC_SECONDS)
    print("\n  ", end="")
    for reply in call:
        match reply.WhichOneof("event"):
            case "started":
                started = reply.started
            case "part_delta":
                print(reply.part_delta.text, end="", flush=True)
            case "finished":
                finished = reply.finished
    print("\n")
    trailing = {key: str(value) for key, value in call.trailing_metadata() or ()}
    return Answer(started, finished, trailing.get(TRACE_ID, ""))


def report(channel: grpc.Channel, answer: Answer) -> None:
    finished = answer.finished
    say("served by", answer.started.served_by.model)
    say("finish reason", completions.FinishReason.Name(finished.finish_reason))
    say("tokens", f"{finished.usage.input_tokens} in, {finished.usage.output_tokens} out")
    say("cost", price(finished.cost))
    say("trace id", answer.trace_id)
    row = usage_row(channel, answer.started.id)
    say("usage row", row.name)
    say("", f"completion {row.completion_id}, trace {row.trace_id}")
    say("", f"{row.attempt.usage.output_tokens} tokens out, {price(row.attempt.cost)}")
    if not answer.trace_id or row.trace_id != answer.trace_id:
        fail("the usage row is not that of the call")


def usage_row(channel: grpc.Channel, completion_id: str) -> usage.UsageRecord:
    stub = usage_service.UsageServiceStub(channel)
    request = usage.ListUsageRecordsRequest(
        parent="tenants/-", filter=f'completion_id = "{completion_id}"'
    )
    deadline = time.monotonic() + RPC_SECONDS
    while not (rows := stub.ListUsageRecords(request, timeout=RPC_SECONDS).usage_records):
        if time.monotonic() > deadline:
            fail("the call has no usage row")
        time.sleep(0.05)
    return rows[0]


def price(cost: common.Cost) -> str:
    dollars, nano = divmod(cost.total_nano_usd, NANO_PER_USD)
    unknown = " and what no price is known for" if cost.incomplete else ""
    return f"${dollars}.{nano:09}{unknown}"


def say(what: str, value: str) -> None:
    print(f"{what:>14}  {value}")


def fail(why: str) -> NoReturn:
    print(LOG.read_text() if LOG.exists() else "", file=sys.stderr)
    sys.exit(f"demo: {why}")


if __name__ == "__main__":
    sys.exit(main())
