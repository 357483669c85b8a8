"""The turns of a conversation as Converse demands them: two speakers, and every call answered."""

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
Blocks = list[Json]

# Makes the refusal of what stands at a path.
Refuse = Callable[[str, str], Exception]


class Turns:
    """Who said what, in turn; who speaks twice running speaks once.

    Attributes:
        said: the turns, in the API's words.
    """

    def __init__(self, refuse: Refuse) -> None:
        self.said: list[Json] = []
        self._refuse = refuse
        self._paths: list[str] = []  # where each turn began

    def add(self, role: str, blocks: Blocks, path: str) -> None:
        """Take what a message says; nothing is no turn."""
        if not blocks:
            return
        if self.said and self.said[-1]["role"] == role:
            self.said[-1]["content"] += blocks
            return
        if not self.said and role == "assistant":
            raise self._refuse(path, "takes conversations only that the user begins")
        self.said.append({"role": role, "content": blocks})
        self._paths.append(path)

    def check(self) -> None:
        """Refuse what the vendor would refuse of the conversation as a whole."""
        if not self.said:
            raise self._refuse("messages", "needs a message of the user that is not blank")
        asked: list[str] = []
        for turn, path in zip(self.said, self._paths, strict=True):
            blocks = turn["content"]
            if turn["role"] == "user":
                self._check_results(_ids(blocks, "toolResult"), asked, path)
                self._check_documents(blocks, path)
                asked = []
            else:
                asked = _ids(blocks, "toolUse")
                if len(set(asked)) < len(asked):
                    raise self._refuse(path, "takes no two tool calls of one id")
        if asked:
            raise self._refuse(self._paths[-1], "takes tool calls only with their results")

    def _check_results(self, given: list[str], asked: list[str], path: str) -> None:
        if sorted(given) != sorted(asked):
            what = "takes each tool call's result once, right after the message with the call"
            raise self._refuse(path, what)

    def _check_documents(self, blocks: Blocks, path: str) -> None:
        if any("document" in block for block in blocks) and not any("text" in b for b in blocks):
            raise self._refuse(path, "takes documents only beside text")


def _ids(blocks: Blocks, kind: str) -> list[str]:
    """Ids of the calls, or of the results, that are the caller's to pair."""
    found = (block[kind] for block in blocks if kind in block)
    return [said["toolUseId"] for said in found if "type" not in said]
