"""Creations whose senders may repeat them (AIP-155)."""

from llm_service.domain.value import value


@value
class Creation:
    """One request to create something, under an id that its sender chose.

    `tenant` and `method` are what the id is unique in; `body_digest` tells requests apart.
    """

    tenant: str
    method: str
    request_id: str
    body_digest: str


class Repeated(Exception):
    """The request was served before; `answer` is what was kept of that."""

    def __init__(self, answer: bytes) -> None:
        super().__init__("this request was served before")
        self.answer = answer
