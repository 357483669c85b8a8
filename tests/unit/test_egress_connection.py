"""One connection's parsing, driven by hand: what arrives does not depend on how it is cut."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.errors import ProviderProtocolError, ProviderUnreachable
from llm_service.providers.connection import MAX_BUFFERED_BYTES, Connection

PIECES = st.lists(st.binary(min_size=1, max_size=40), max_size=8)
CUTS = st.lists(st.integers(1, 30), min_size=1, max_size=20)


class FakeTransport(asyncio.Transport):
    """Remembers what was written, and whether it was closed or paused."""

    def __init__(self):
        super().__init__()
        self.written = []
        self.aborted = False
        self.reading = True
        self.unsent = 0

    def write(self, data):
        self.written.append(data)

    def abort(self):
        self.aborted = True

    def is_closing(self):
        return self.aborted

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def get_write_buffer_size(self):
        return self.unsent


@pytest.fixture(scope="module")
def loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def asked(loop):
    """A connection that has sent a request."""
    connection = Connection(loop, lambda _: None)
    connection.connection_made(FakeTransport())
    connection.begin(b"GET / HTTP/1.1\r\n\r\n", b"")
    return connection


def cut(data, sizes):
    at = 0
    while at < len(data):
        for size in sizes:
            yield data[at : at + size]
            at += size


def feed(connection, pieces):
    for piece in pieces:
        if piece and not connection._transport.aborted:
            connection.data_received(piece)


def chunked(pieces):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\nx-a: 2\r\n\r\n"
    return head + b"".join(b"%X;e=1\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\nt: 1\r\n\r\n"


def outcome(connection):
    return (
        connection.status,
        connection.headers,
        connection.take(),
        connection.complete,
        type(connection.failure),
    )


@given(pieces=PIECES, sizes=CUTS)
def test_chunks_are_put_together_however_the_wire_is_cut(loop, pieces, sizes):
    connection = asked(loop)

    feed(connection, cut(chunked(pieces), sizes))

    assert outcome(connection) == (
        200,
        {"transfer-encoding": "chunked", "x-a": "1, 2"},
        b"".join(pieces),
        True,
        type(None),
    )
    assert connection.finish()


@given(wire=st.binary(max_size=200), sizes=CUTS, real=st.booleans(), at=st.integers(0, 60))
def test_what_is_made_of_any_bytes_does_not_depend_on_the_cuts(loop, wire, sizes, real, at):
    data = chunked([b"abc", b"de"])[:at] + wire if real else wire
    whole, parts = asked(loop), asked(loop)

    feed(whole, [data])
    feed(parts, cut(data, sizes))

    assert (whole.status, whole.complete) == (parts.status, parts.complete)
    assert type(whole.failure) is type(parts.failure)
    assert whole.take() == parts.take()


@given(pieces=PIECES, cut_at=st.integers(0, 400))
def test_a_response_lost_before_its_end_is_never_complete(loop, pieces, cut_at):
    wire = chunked(pieces)
    connection = asked(loop)

    feed(connection, [wire[: min(cut_at, len(wire) - 1)]])
    connection.connection_lost(None)

    assert not connection.complete
    assert isinstance(connection.failure, ProviderUnreachable)
    assert not connection.finish()


def test_a_small_request_is_one_write(loop):
    connection = asked(loop)
    connection.complete = connection._keep_alive = True
    connection.finish()

    connection.begin(b"head", b"body")

    assert connection._transport.written[-1] == b"headbody"


def test_a_connection_whose_request_is_not_all_sent_is_not_kept(loop):
    connection = asked(loop)
    feed(connection, [chunked([])])
    connection._transport.unsent = 1

    assert not connection.finish()
    assert connection._transport.aborted


def test_reading_stops_while_too_much_is_held_and_goes_on_once_it_is_taken(loop):
    connection = asked(loop)
    piece = b"x" * MAX_BUFFERED_BYTES
    feed(connection, [b"HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n", piece])
    before = connection._transport.reading

    feed(connection, [b"x"])
    while_held = connection._transport.reading
    connection.take()

    assert (before, while_held, connection._transport.reading) == (True, False, True)


def test_bytes_nobody_asked_for_close_the_connection(loop):
    connection = Connection(loop, lambda _: None)
    connection.connection_made(FakeTransport())

    connection.data_received(b"HTTP/1.1 200 OK\r\n\r\n")

    assert connection._transport.aborted


def test_a_second_answer_leaves_the_first_as_it_was(loop):
    connection = asked(loop)

    feed(connection, [chunked([b"one"]) + b"HTTP/1.1 500 x\r\nx-a: 3\r\n\r\n"])

    assert outcome(connection)[:3] == (
        200,
        {"transfer-encoding": "chunked", "x-a": "1, 2"},
        b"one",
    )
    assert not connection.finish()


def test_the_first_failure_is_the_one_that_counts(loop):
    connection = asked(loop)

    feed(connection, [b"nonsense"])
    connection.connection_lost(ConnectionResetError())

    assert isinstance(connection.failure, ProviderProtocolError)


async def test_a_timer_that_rings_before_a_later_deadline_is_set_again():
    loop = asyncio.get_running_loop()
    connection = asked(loop)
    connection._arm(loop.time())
    waiting = asyncio.ensure_future(connection.arrival(loop.time() + 60, "late"))
    await asyncio.sleep(0)

    connection._ring()

    assert not waiting.done()
    assert connection._timer.when() > loop.time() + 30
    connection.connection_lost(None)
    await waiting
