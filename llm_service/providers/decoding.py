"""Undoing a response's content encoding, a bounded piece at a time."""

import zlib

from llm_service.errors import ProviderProtocolError

MAX_PIECE_BYTES = 256 * 1024

_GZIP = zlib.MAX_WBITS | 16
_DEFLATE_METHOD = 8  # the low four bits of a zlib header's first byte (RFC 1950)


class Inflate:
    """Decodes gzip or deflate, `MAX_PIECE_BYTES` at most at once however small the input."""

    def __init__(self, encoding: str) -> None:
        self._gzip = encoding == "gzip"
        self._running = zlib.decompressobj(_GZIP) if self._gzip else None
        self._input = b""

    @property
    def starved(self) -> bool:
        """Whether more can come only from more input."""
        return not self._input

    @property
    def complete(self) -> bool:
        """Whether the input ends where the encoding does, or there was none."""
        return self._running is None or self._running.eof

    def decode(self, data: bytes) -> bytes:
        """The next decoded piece. Give more input only when `starved`; b"" when it takes more.

        Raises:
            ProviderProtocolError: the input is not in its encoding.
        """
        self._input = self._input or data
        piece = b""
        while self._input and not piece:
            piece = self._step()
        return piece

    def _step(self) -> bytes:
        data = self._input
        running = self._running
        if running is None:  # by "deflate" some servers mean zlib's format, some the bare one
            wrapped = data[0] & 0x0F == _DEFLATE_METHOD
            running = zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
        elif running.eof:
            if not self._gzip:
                raise ProviderProtocolError("the provider's answer goes on after its compression")
            running = zlib.decompressobj(_GZIP)  # the next member
        self._running = running
        try:
            piece = running.decompress(data, MAX_PIECE_BYTES)
        except zlib.error as error:
            raise ProviderProtocolError("the provider's answer cannot be decompressed") from error
        self._input = running.unconsumed_tail or running.unused_data
        return piece
