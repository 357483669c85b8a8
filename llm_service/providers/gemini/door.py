"""The two doors to Google's models: where a model's methods lie, and what each lets through."""

import re
from dataclasses import dataclass
from urllib.parse import quote

from llm_service.catalog.wire import wire_facts
from llm_service.errors import InvalidField, Violation

KIND = "google"

_BOTH = {
    "googleSearch",
    "googleSearchRetrieval",
    "googleMaps",
    "codeExecution",
    "computerUse",
    "urlContext",
}
_GEMINI_API_TOOLS = frozenset({*_BOTH, "fileSearch", "mcpServers"})
_VERTEX_TOOLS = frozenset(
    {*_BOTH, "enterpriseWebSearch", "exaAiSearch", "parallelAiSearch", "retrieval"}
)
_SECOND = re.compile(r"gemini-[12](?!\d)")


@dataclass(frozen=True, slots=True)
class Door:
    """An account's way in. `project` and `location` are "" at the Gemini API's door."""

    project: str = ""
    location: str = ""

    @property
    def is_vertex(self) -> bool:
        return bool(self.project)

    @property
    def provider_tools(self) -> frozenset[str]:
        """The names of the tools that Google runs."""
        return _VERTEX_TOOLS if self.is_vertex else _GEMINI_API_TOOLS

    def resource(self, model: str) -> str:
        """A model's resource name: "models/gemini-3.8-flash".

        Raises:
            InvalidField: it is no name of a model.
        """
        if not all(segment.strip(".") for segment in model.split("/")):
            raise InvalidField(Violation("model", "is not a name that Google's models have"))
        name = quote(model, safe="/@:")
        if not self.is_vertex:
            return name if name.startswith(("models/", "tunedModels/")) else f"models/{name}"
        if name.startswith("projects/"):
            return name
        if name.startswith(("publishers/", "endpoints/")):
            return f"{self.parent}/{name}"
        publisher, _, last = name.removeprefix("models/").rpartition("/")
        return f"{self.parent}/publishers/{publisher or 'google'}/models/{last}"

    @property
    def parent(self) -> str:
        return f"projects/{self.project}/locations/{self.location}"

    def path(self, model: str, method: str) -> str:
        return f"/{self.resource(model)}:{method}"


def thinking_style(model: str) -> str:
    """How a model is told how hard to think: "budget", "level", or "" unknown."""
    return wire_facts(KIND, model).get("thinking", "")


def is_third(model: str) -> bool:
    """Of the third generation or later, which takes what the earlier refused."""
    return thinking_style(model) == "level"


def is_second(model: str) -> bool:
    """Of the first two generations, by its name."""
    return _SECOND.search(model) is not None
