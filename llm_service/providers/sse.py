"""Server-sent events: bytes as they arrive in, the data of whole events out."""

from collections.abc import Iterator

from llm_service.errors import ProviderProtocolError

MAX_EVENT_BYTES = 16 * 1024 * 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventReader:
    """Frames one stream, in linear time, holding at most one event of `MAX_EVENT_BYTES`.

    Comments and the fields `event`, `id` and `retry` are skipped: every dialect read here repeats
    in its data what the event is.
    """

    __slots__ = ("_after_cr", "_data", "_fresh", "_held", "_line", "_size")

    def __init__(self) -> None:
        self._line: list[bytes] = []  # pieces of the unfinished line
        self._data: list[bytes] = []  # data lines of the unfinished event
        self._held = 0  # bytes of the event's data lines, each with its line feed
        self._size = 0  # bytes held in both
        self._after_cr = False
        self._fresh = True

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The data of each event that `chunk` completes.

        Raises:
            ProviderProtocolError: an event is longer than `MAX_EVENT_BYTES`.
        """
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_line_feeds(chunk)
        if b"\n" not in chunk:
            self._line.append(chunk)
            self._grow(len(chunk))
            return
        if self._line:
            self._line.append(chunk)
            chunk = b"".join(self._line)
        lines = chunk.split(b"\n")
        rest = lines.pop()
        self._line = [rest] if rest else []
        if self._fresh:
            self._fresh = False
            lines[0] = lines[0].removeprefix(_BYTE_ORDER_MARK)
        yield from self._events(lines)
        self._size = 0
        self._grow(len(rest) + self._held)

    def end(self) -> Iterator[bytes]:
        """The data of a last event that lacks its empty line."""
        yield from self.feed(b"\n\n")

    def _events(self, lines: list[bytes]) -> Iterator[bytes]:
        data = self._data
        for line in lines:
            if not line:
                if data:
                    yield data[0] if len(data) == 1 else b"\n".join(data)
                    data.clear()
                    self._held = 0
            elif line.startswith(b"data:"):
                self._hold(line[6:] if line[5:6] == b" " else line[5:])
            elif line == b"data":
                self._hold(b"")

    def _hold(self, value: bytes) -> None:
        self._data.append(value)
        self._held += len(value) + 1
        if self._held > MAX_EVENT_BYTES:
            raise _too_long()

    def _with_line_feeds(self, chunk: bytes) -> bytes:
        """Turn CR LF and CR into LF, also where a CR LF is split between two reads."""
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _grow(self, count: int) -> None:
        self._size += count
        if self._size > MAX_EVENT_BYTES:
            raise _too_long()


def _too_long() -> ProviderProtocolError:
    return ProviderProtocolError(f"the provider sent an event of more than {MAX_EVENT_BYTES} bytes")
