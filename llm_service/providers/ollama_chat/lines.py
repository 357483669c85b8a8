"""JSON lines: bytes as they arrive in, whole lines out."""

from collections.abc import Iterator

from llm_service.errors import ProviderProtocolError

MAX_LINE_BYTES = 16 * 1024 * 1024


class LineReader:
    """Frames one stream, in linear time, holding at most one line of `MAX_LINE_BYTES`."""

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Each line that `chunk` completes, without its end; empty ones are skipped.

        Raises:
            ProviderProtocolError: a line is longer than `MAX_LINE_BYTES`.
        """
        head, *rest = chunk.split(b"\n")
        self._keep(head)
        for line in rest:
            whole = b"".join(self._pieces).strip()
            self._pieces, self._size = [], 0
            self._keep(line)
            if whole:
                yield whole

    def end(self) -> Iterator[bytes]:
        """A last line that lacks its end."""
        yield from self.feed(b"\n")

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._pieces.append(piece)
            self._size += len(piece)
            if self._size > MAX_LINE_BYTES:
                raise ProviderProtocolError(
                    f"the provider sent a line of more than {MAX_LINE_BYTES} bytes"
                )
