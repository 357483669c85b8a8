"""Every kind with its vendor's fake: what the shared suite needs to hold one like another."""

import importlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from vendor_server import Asked, Reply, Vendor, vendor_server

from llm_service import providers
from llm_service.domain.provider import SourceType
from llm_service.providers.base import Account, Adapter
from llm_service.providers.egress import Egress

AWS_KEY = json.dumps(
    {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "secret/key", "session_token": ""}
)


@dataclass(frozen=True)
class Kind:
    """A kind, the model asked of it, and the fake (`fakes.<fake>`) that plays its vendor.

    `thinks`: gives its thinking and takes it back. `signs`: with a signature. `refuses`: has a
    way to say that it declines. `filters`: has a word for what a filter cut off.
    """

    name: str
    fake_name: str
    model: str = "some-model"
    settings: dict[str, str] = field(default_factory=dict)
    secret: str = "sk-0123456789abcdef"
    source: SourceType = SourceType.API_KEY
    path: str = "/v1"
    thinks: bool = True
    refuses: bool = False
    signs: bool = False
    filters: bool = True
    label: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", self.label or self.name)

    @property
    def fake(self):
        return importlib.import_module(f"fakes.{self.fake_name}")

    def told(self, asked: Asked, made: int) -> Reply | None:
        """What the vendor says when asked of an answer `made` tokens long; None: it is not that."""
        told = getattr(self.fake, "told", None)
        return told(asked, made) if told else None

    def account(self, vendor: Vendor) -> Account:
        base_uri = f"http://127.0.0.1:{vendor.port}{self.path}"
        return Account(base_uri, self.settings, self.secret, self.source)


KINDS = {
    kind.label: kind
    for kind in (
        Kind("openai", "chat", settings={"api": "chat"}, refuses=True),
        Kind(
            "openai",
            "responses",
            label="openai by Responses",
            settings={"api": "responses"},
            signs=True,
            refuses=True,
        ),
        Kind("azure", "azure", settings={"api": "chat"}, path="", refuses=True),
        Kind("anthropic", "messages", refuses=True, signs=True),
        Kind("google", "gemini", path="/v1beta", signs=True),
        Kind(
            "google",
            "gemini",
            label="google by Vertex",
            model="gemini-3.8-flash",
            settings={"project": "p-1", "location": "europe-west4"},
            path="/v1",
            signs=True,
        ),
        Kind("bedrock", "converse", secret=AWS_KEY, source=SourceType.AWS_KEY, path="", signs=True),
        Kind("deepseek", "deepseek"),
        Kind("xai", "xai"),
        Kind("fireworks", "fireworks"),
        Kind("groq", "groq"),
        Kind("mistral", "mistral"),
        Kind("openrouter", "openrouter", signs=True),
        Kind("together", "together"),
        Kind("openai-compatible", "compatible"),
        Kind("ollama", "ollama", path="", filters=False),
    )
}


# One of each way to read and write; the rest of the kinds speak Chat Completions as these do.
DIALECTS = [
    KINDS[name]
    for name in (
        "openai",
        "openai by Responses",
        "anthropic",
        "google",
        "bedrock",
        "deepseek",
        "mistral",
        "openrouter",
        "ollama",
    )
]


@asynccontextmanager
async def connected(kind: Kind) -> AsyncIterator[tuple[Vendor, Adapter]]:
    """The vendor's fake listening, and an adapter that speaks with it."""
    async with vendor_server() as vendor:
        egress = Egress(allow=("127.0.0.1",))
        adapter = providers.connect(kind.name, kind.account(vendor), egress)
        try:
            yield vendor, adapter
        finally:
            await adapter.aclose()
            await egress.aclose()
