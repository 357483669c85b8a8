"""What becomes of connections: kept, not kept, cut, cancelled, closed; over real sockets."""

import asyncio
import socket
import time

import pytest
from scripted_peer import CLOSE, HOLD, RESET, ScriptedPeer, bytewise, chunked, sized

from llm_service.errors import ProviderTimeout, ProviderUnreachable
from llm_service.providers import egress as egress_module
from llm_service.providers.egress import Egress

OK = sized(b"ok")


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
    assert not egress._live
    left = asyncio.all_tasks() - before
    assert [task for task in left if "TestRunner" not in repr(task)] == []


def soon(seconds=5.0):
    return asyncio.get_running_loop().time() + seconds


async def send(egress, peer, **what):
    request = {"method": "POST", "path": "/x", "headers": [], "body": b"{}", "by": soon()} | what
    endpoint = egress.endpoint(peer.url + "/v1")
    return await egress.send(endpoint, connect_timeout=5.0, **request)


async def fetch(egress, peer):
    response = await send(egress, peer)
    return await response.read(by=soon())


async def test_a_request_is_written_as_given_with_our_own_headers(egress):
    async with ScriptedPeer([OK]) as peer:
        await send(egress, peer, path="/chat?a=b", headers=[("Authorization", "Bearer k")])

    assert peer.requests == [
        b"POST /v1/chat?a=b HTTP/1.1\r\n"
        b"host: 127.0.0.1:%d\r\n"
        b"user-agent: llm-service/0.1.0\r\n"
        b"accept-encoding: identity\r\n"
        b"Authorization: Bearer k\r\n"
        b"content-length: 2\r\n\r\n{}" % peer.port
    ]


@pytest.mark.parametrize("size", [0, 1, 200_000])
async def test_a_body_of_any_size_is_sent_whole(egress, size):
    async with ScriptedPeer([OK]) as peer:
        await send(egress, peer, body=b"x" * size)

    head, _, body = peer.requests[0].partition(b"\r\n\r\n")
    assert (b"content-length: %d" % size in head, len(body)) == (True, size)


async def test_a_get_without_body_carries_no_length(egress):
    async with ScriptedPeer([OK]) as peer:
        await send(egress, peer, method="GET", body=b"")

    assert b"content-length" not in peer.requests[0]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"headers": [("x", "a\r\nInjected: yes")]}, "value of header x"),
        ({"headers": [("x", "a\nInjected: yes")]}, "value of header x"),
        ({"headers": [("x", "a\0")]}, "value of header x"),
        ({"headers": [("x", "schlüssel")]}, "value of header x"),
        ({"headers": [("x\r\ny", "a")]}, "header name"),
        ({"headers": [("x:", "a")]}, "header name"),
        ({"headers": [("", "a")]}, "header name"),
        ({"headers": [("Host", "evil")]}, "not the caller's"),
        ({"headers": [("Content-Length", "0")]}, "not the caller's"),
        ({"headers": [("transfer-encoding", "chunked")]}, "not the caller's"),
        ({"path": "/x HTTP/1.1\r\nInjected: yes"}, "path"),
        ({"path": "/x y"}, "path"),
        ({"path": "/x#y"}, "path"),
        ({"path": "/ü"}, "path"),
        ({"method": "GET /"}, "method"),
        ({"method": "HEAD"}, "method"),
        ({"method": "CONNECT"}, "method"),
    ],
)
async def test_what_would_change_the_requests_shape_is_refused(egress, what, words):
    async with ScriptedPeer([OK]) as peer:
        with pytest.raises(ValueError, match=words) as refusal:
            await send(egress, peer, **what)

    assert peer.connections == 0
    assert "yes" not in str(refusal.value)


async def test_a_connection_read_to_the_end_carries_the_next_request(egress):
    async with ScriptedPeer([OK], [chunked(b"ok")], [b"HTTP/1.1 204 x\r\n\r\n"], [OK]) as peer:
        bodies = [await fetch(egress, peer) for _ in range(4)]

    assert bodies == [b"ok", b"ok", b"", b"ok"]
    assert peer.connections == 1


async def test_the_connection_used_last_is_used_first(egress):
    async with ScriptedPeer([OK]) as peer:
        first, second = await send(egress, peer), await send(egress, peer)
        last = second._connection
        first.close()
        second.close()

        third = await send(egress, peer)

    assert third._connection is last
    assert peer.connections == 2


async def test_closing_an_unread_but_complete_response_keeps_the_connection(egress):
    async with ScriptedPeer([OK]) as peer:
        response = await send(egress, peer)
        response.close()
        response.close()

        await fetch(egress, peer)

    assert peer.connections == 1


async def test_a_response_closed_before_its_end_gives_no_end(egress):
    async with ScriptedPeer([chunked(b"one", ended=False), HOLD]) as peer:
        response = await send(egress, peer)

        response.close()

        await asyncio.wait_for(peer.left.wait(), 5)
        with pytest.raises(ProviderUnreachable):
            await response.chunk(by=soon())


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([sized(b"ok", b"connection: close"), HOLD], id="asked-to-close"),
        pytest.param([b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", HOLD], id="http-1.0"),
        pytest.param([OK + b"trailing", HOLD], id="trailing-bytes"),
        pytest.param([OK + OK, HOLD], id="second-response"),
        pytest.param([sized(b"ok", b"keep-alive: timeout=1"), HOLD], id="short-lived"),
    ],
)
async def test_a_connection_that_cannot_be_trusted_again_is_closed(egress, script):
    async with ScriptedPeer(script, [OK]) as peer:
        first = await fetch(egress, peer)
        second = await fetch(egress, peer)

        await asyncio.wait_for(peer.left.wait(), 5)

    assert (first, second, peer.connections) == (b"ok", b"ok", 2)


async def test_unasked_bytes_on_an_idle_connection_close_it(egress):
    more = asyncio.Event()
    async with ScriptedPeer([OK, more, OK, HOLD], [OK]) as peer:
        await fetch(egress, peer)
        more.set()
        await asyncio.wait_for(peer.left.wait(), 5)

        await fetch(egress, peer)

    assert peer.connections == 2


async def test_a_connection_the_peer_closed_is_not_used_again(egress):
    async with ScriptedPeer([OK, CLOSE], [OK]) as peer:
        await fetch(egress, peer)
        while egress._live:  # noqa: ASYNC110  # nothing tells when
            await asyncio.sleep(0)

        assert await fetch(egress, peer) == b"ok"

    assert (peer.connections, len(peer.requests)) == (2, 2)


async def test_a_connection_the_peer_closed_this_instant_is_not_used_again(egress):
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0)
    endpoint = egress.endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}")

    async def serve_one():
        accepted, _ = await loop.sock_accept(listener)
        await loop.sock_recv(accepted, 65536)
        await loop.sock_sendall(accepted, OK)
        return accepted

    async def one():
        serving = asyncio.ensure_future(serve_one())
        response = await egress.send(endpoint, "POST", "/", [], b"", connect_timeout=5.0, by=soon())
        await response.read(by=soon())
        return await serving

    accepted = await one()
    accepted.close()  # the client's loop has had no turn to see it
    again = await one()

    again.close()
    listener.close()


async def test_a_request_the_peer_read_is_never_sent_twice(egress):
    async with ScriptedPeer([OK], [CLOSE], [OK]) as peer:
        await fetch(egress, peer)

        with pytest.raises(ProviderUnreachable):
            await fetch(egress, peer)

    assert (peer.connections, len(peer.requests)) == (1, 2)


async def test_no_more_than_the_cap_stay_idle(egress, monkeypatch):
    monkeypatch.setattr(egress_module, "MAX_IDLE_PER_ORIGIN", 1)
    async with ScriptedPeer([OK, HOLD]) as peer:
        responses = [await send(egress, peer) for _ in range(2)]

        for response in responses:
            response.close()

        await asyncio.wait_for(peer.left.wait(), 5)
        assert sum(map(len, egress._idle.values())) == 1


async def test_connections_idle_for_too_long_are_closed_when_another_comes_back(egress):
    async with ScriptedPeer([OK, HOLD]) as peer:
        first, second = await send(egress, peer), await send(egress, peer)
        stale = first._connection
        first.close()
        stale.usable_until = 0.0

        second.close()

        await asyncio.wait_for(peer.left.wait(), 5)
        assert sum(map(len, egress._idle.values())) == 1


@pytest.mark.parametrize("script", [[CLOSE], [OK[:20], CLOSE], [RESET], [OK[:20], RESET]])
async def test_a_connection_cut_before_or_in_the_head_is_unreachable(egress, script):
    async with ScriptedPeer(script) as peer:
        with pytest.raises(ProviderUnreachable):
            await send(egress, peer)


async def test_a_head_that_does_not_come_times_out_and_the_connection_is_closed(egress):
    async with ScriptedPeer([HOLD]) as peer:
        with pytest.raises(ProviderTimeout):
            await send(egress, peer, by=soon(0.05))

        await asyncio.wait_for(peer.left.wait(), 5)


async def test_a_head_that_drips_times_out(egress):
    tick = asyncio.Event()
    async with ScriptedPeer([*bytewise(OK[:10]), tick, *bytewise(OK[10:-3]), HOLD]) as peer:
        asyncio.get_running_loop().call_later(0.02, tick.set)

        with pytest.raises(ProviderTimeout):
            await send(egress, peer, by=soon(0.1))


async def test_a_redirect_is_an_answer_like_any_other(egress):
    async with ScriptedPeer([OK]) as canary:
        redirect = b"HTTP/1.1 307 x\r\nlocation: %s\r\ncontent-length: 0\r\n\r\n"
        async with ScriptedPeer([redirect % canary.url.encode()]) as peer:
            response = await send(egress, peer)

    assert (response.status, canary.connections) == (307, 0)


async def test_the_environments_proxy_is_not_used(egress, monkeypatch):
    async with ScriptedPeer([OK]) as canary, ScriptedPeer([OK]) as peer:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, canary.url)

        await fetch(Egress(["127.0.0.1"]), peer)

    assert (canary.connections, peer.connections) == (0, 1)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([HOLD], id="before-the-head"),
        pytest.param([OK[:20], HOLD], id="in-the-head"),
        pytest.param([chunked(b"one", ended=False), HOLD], id="in-the-body"),
    ],
)
async def test_a_cancelled_call_is_closed_upstream_within_100_ms(egress, script):
    delays = []
    for _ in range(5):  # the best of five: a busy machine may hold one up
        async with ScriptedPeer(script) as peer:
            call = asyncio.ensure_future(fetch(egress, peer))
            while not peer.requests:  # noqa: ASYNC110  # nothing tells when
                await asyncio.sleep(0)
            cancelled_at = asyncio.get_running_loop().time()
            call.cancel()

            with pytest.raises(asyncio.CancelledError):
                await call

            await asyncio.wait_for(peer.left.wait(), 5)
            delays.append(peer.left_at - cancelled_at)

    assert min(delays) < 0.1


async def test_closing_the_client_ends_calls_and_keeps_no_connection(egress):
    async with ScriptedPeer([OK], [chunked(b"one", ended=False), HOLD]) as peer:
        await fetch(egress, peer)
        running = await send(egress, peer)
        await running.chunk(by=soon())

        await egress.aclose()

        with pytest.raises(ProviderUnreachable):
            await running.chunk(by=soon())
        with pytest.raises(ProviderUnreachable):
            await send(egress, peer)
        await asyncio.wait_for(peer.left.wait(), 5)


async def test_a_call_leaves_no_timer_behind_its_connection(egress):
    async with ScriptedPeer([OK]) as peer:
        response = await send(egress, peer, by=soon(60))
        timer = response._connection._timer
        response.close()

        await egress.aclose()

    assert timer.cancelled()


async def test_requests_leave_at_once(egress):
    async with ScriptedPeer([OK]) as peer:
        response = await send(egress, peer)
        transport = response._connection._transport

        option = transport.get_extra_info("socket").getsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY
        )

    assert option != 0


async def test_small_requests_are_not_slowed_by_delayed_acknowledgement(egress):
    async with ScriptedPeer([OK]) as peer:
        waits = []
        for _ in range(100):
            began = time.monotonic() - time.process_time()
            await fetch(egress, peer)
            waits.append(time.monotonic() - time.process_time() - began)

    # Delayed, all but the first few would wait for 40 ms; a machine that pauses stops a few.
    assert peer.connections == 1
    assert sorted(waits)[30] < 0.03
