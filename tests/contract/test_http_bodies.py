"""What becomes of a response's body, over real sockets, on both event loops."""

import asyncio
import gzip
import zlib

import pytest
from scripted_peer import CLOSE, HOLD, RESET, ScriptedPeer, bytewise, chunked, sized

from llm_service.errors import ProviderProtocolError, ProviderTimeout, ProviderUnreachable
from llm_service.providers import connection as wire
from llm_service.providers.egress import Egress


@pytest.fixture(
    scope="module",
    params=[("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)
def anyio_backend(request):
    return request.param


@pytest.fixture
async def egress():
    before = asyncio.all_tasks()
    egress = Egress(["127.0.0.1"])
    yield egress
    await egress.aclose()
    left = asyncio.all_tasks() - before
    assert [task for task in left if "TestRunner" not in repr(task)] == []


def soon(seconds=5.0):
    return asyncio.get_running_loop().time() + seconds


async def get(egress, peer, path="/"):
    endpoint = egress.endpoint(peer.url)
    return await egress.send(endpoint, "GET", path, [], b"", connect_timeout=5.0, by=soon())


BODY = b"data: one\n\ndata: two\n\n"
UNTIL_CLOSE = b"HTTP/1.0 200 OK\r\n\r\n" + BODY


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([sized(BODY)], id="length-whole"),
        pytest.param(bytewise(sized(BODY)), id="length-bytewise"),
        pytest.param([chunked(BODY[:5], BODY[5:])], id="chunked-whole"),
        pytest.param(bytewise(chunked(BODY[:5], BODY[5:])), id="chunked-bytewise"),
        pytest.param([UNTIL_CLOSE, CLOSE], id="until-close"),
        pytest.param([*bytewise(UNTIL_CLOSE), CLOSE], id="until-close-bytewise"),
        pytest.param(
            [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\na: b\r\n\r\n", sized(BODY)],
            id="interim-heads",
        ),
        pytest.param([sized(gzip.compress(BODY), b"content-encoding: gzip")], id="gzip"),
        pytest.param([sized(zlib.compress(BODY), b"content-encoding: deflate")], id="deflate"),
        pytest.param(
            bytewise(chunked(gzip.compress(BODY), extra=[b"content-encoding: GZIP"])),
            id="gzip-bytewise",
        ),
        pytest.param([sized(BODY, b"content-encoding: identity")], id="identity"),
    ],
)
async def test_a_body_arrives_whole_however_it_is_framed_and_cut(egress, script):
    async with ScriptedPeer(script) as peer:
        response = await get(egress, peer)

        body = await response.read(by=soon())

    assert (response.status, body) == (200, BODY)
    assert await response.chunk(by=soon()) == b""


async def test_a_piece_is_given_as_soon_as_it_arrives(egress):
    more = asyncio.Event()
    async with ScriptedPeer([chunked(b"one", ended=False), more, b"3\r\ntwo\r\n0\r\n\r\n"]) as peer:
        response = await get(egress, peer)

        first = await response.chunk(by=soon())
        more.set()
        rest = await response.read(by=soon())

    assert (first, rest) == (b"one", b"two")


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_has_an_empty_one(egress, status):
    async with ScriptedPeer([b"HTTP/1.1 %d x\r\n\r\n" % status]) as peer:
        response = await get(egress, peer)

        assert await response.read(by=soon()) == b""


async def test_repeated_headers_are_joined_and_names_are_lower_case(egress):
    script = [sized(b"", b"X-One: a", b"x-one: b", b"Content-Type: text/plain")]
    async with ScriptedPeer(script) as peer:
        response = await get(egress, peer)

    assert response.headers["x-one"] == "a, b"
    assert response.headers["content-type"] == "text/plain"


async def test_a_responses_repr_shows_no_header(egress):
    async with ScriptedPeer([sized(b"", b"x-request-id: secret")]) as peer:
        response = await get(egress, peer)

    assert repr(response) == "<Response 200>"


@pytest.mark.parametrize("ending", [CLOSE, RESET])
@pytest.mark.parametrize(
    "wire_bytes",
    [
        pytest.param(sized(BODY)[:-1], id="length"),
        pytest.param(chunked(BODY, ended=False), id="chunked"),
        pytest.param(chunked(BODY)[:-2], id="last-line"),
    ],
)
async def test_a_body_cut_short_is_never_a_proper_end(egress, wire_bytes, ending):
    got = asyncio.Event()
    async with ScriptedPeer([wire_bytes, got, ending]) as peer:
        response = await get(egress, peer)
        first = await response.chunk(by=soon())
        got.set()

        with pytest.raises(ProviderUnreachable):
            await response.chunk(by=soon())

    assert BODY.startswith(first)
    response.close()


async def test_a_reset_while_reading_until_close_is_not_a_proper_end(egress):
    got = asyncio.Event()
    async with ScriptedPeer([UNTIL_CLOSE, got, RESET]) as peer:
        response = await get(egress, peer)
        await response.chunk(by=soon())
        got.set()

        with pytest.raises(ProviderUnreachable):
            await response.chunk(by=soon())


async def test_a_body_that_stalls_times_out_and_the_connection_is_closed(egress):
    async with ScriptedPeer([chunked(b"one", ended=False), HOLD]) as peer:
        response = await get(egress, peer)
        await response.chunk(by=soon())

        with pytest.raises(ProviderTimeout):
            await response.chunk(by=soon(0.02))

        await asyncio.wait_for(peer.left.wait(), 5)


async def test_a_nearer_deadline_is_kept_though_a_timer_for_a_later_one_runs(egress):
    async with ScriptedPeer([chunked(b"one", ended=False), HOLD]) as peer:
        response = await get(egress, peer)  # its timer is set for `soon()`
        await response.chunk(by=soon())
        started = asyncio.get_running_loop().time()

        with pytest.raises(ProviderTimeout):
            await response.chunk(by=soon(0.02))

    assert asyncio.get_running_loop().time() - started < 4


async def test_a_body_above_the_limit_is_refused_and_the_connection_closed(egress):
    async with ScriptedPeer([sized(b"x" * 1001), HOLD]) as peer:
        response = await get(egress, peer)

        with pytest.raises(ProviderProtocolError):
            await response.read(by=soon(), limit=1000)

    assert peer.connections == 1


async def test_a_body_of_exactly_the_limit_is_read(egress):
    async with ScriptedPeer([sized(b"x" * 1000)]) as peer:
        response = await get(egress, peer)

        assert len(await response.read(by=soon(), limit=1000)) == 1000


async def test_a_gzip_bomb_is_stopped_at_the_limit(egress):
    bomb = gzip.compress(b"\0" * 16 * 1024 * 1024)
    async with ScriptedPeer([sized(bomb, b"content-encoding: gzip")]) as peer:
        response = await get(egress, peer)

        with pytest.raises(ProviderProtocolError):
            await response.read(by=soon(), limit=1024 * 1024)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([sized(b"nonsense", b"content-encoding: gzip")], id="not-gzip"),
        pytest.param([sized(gzip.compress(BODY)[:-4], b"content-encoding: gzip")], id="cut-gzip"),
        pytest.param([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"], id="size"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;" + b"x" * 70000],
            id="endless-extension",
        ),
        pytest.param([chunked(b"x")[:-2] + b"t: " + b"x" * 400000], id="trailers"),
    ],
)
async def test_a_body_that_is_not_what_it_claims_is_a_protocol_error(egress, script):
    async with ScriptedPeer([*script, HOLD]) as peer:
        response = await get(egress, peer)

        with pytest.raises(ProviderProtocolError):
            await response.read(by=soon())


@pytest.mark.parametrize(
    "wire_bytes",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="ssh"),
        pytest.param(b"\x15\x03\x01\x00\x02\x02\x28", id="tls-alert"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="http2"),
        pytest.param(b"HTTP/1.1 000 x\r\n\r\n", id="status"),
        pytest.param(b"HTTP/1.1 101 x\r\nupgrade: a\r\nconnection: upgrade\r\n\r\nx", id="101"),
        pytest.param(b"HTTP/1.1 101 x\r\n\r\n", id="bare-101"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: " + b"x" * 70000 + b"\r\n\r\n", id="huge-header"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 40000, id="many-headers"),
        pytest.param(b"HTTP/1.1 100 x\r\n\r\n" * 8000, id="endless-interim"),
        pytest.param(sized(BODY, b"content-length: 3"), id="two-lengths"),
        pytest.param(sized(BODY, b"transfer-encoding: chunked"), id="length-and-chunked"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", id="transfer-gzip"),
        pytest.param(sized(BODY, b"content-encoding: br"), id="brotli"),
        pytest.param(b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", id="bad-header"),
    ],
)
async def test_what_is_not_a_response_we_can_read_is_a_protocol_error(egress, wire_bytes):
    async with ScriptedPeer([wire_bytes, HOLD]) as peer:
        with pytest.raises(ProviderProtocolError):
            await get(egress, peer)

        await asyncio.wait_for(peer.left.wait(), 5)


async def test_reading_pauses_while_nobody_takes_the_body_and_resumes_after(egress):
    size = 8 * 1024 * 1024
    async with ScriptedPeer([sized(b"x" * size)]) as peer:
        response = await get(egress, peer)
        held = response._connection
        while not held._paused:  # noqa: ASYNC110  # nothing tells when
            await asyncio.sleep(0)

        assert sum(map(len, held._parts)) <= wire.MAX_BUFFERED_BYTES * 2
        assert len(await response.read(by=soon(30), limit=size)) == size
