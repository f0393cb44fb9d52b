"""Peers that are silent, slow, greedy or wrong: a real scrape is answered all the same."""

import contextlib
import os
import pathlib
import re
import select
import socket
import time

import pytest

from exporter import Exporter, wait_until

BOARD = "jetson-nano"
SILENT_PEERS = 1000
SCRAPE_SECONDS = 3  # the promise: a scrape takes no longer, whatever others do
MAX_CONNECTIONS = 256  # exporter/sinks/http_server.h
GROWTH = (256 if "DTE_SANITIZED" in os.environ else 16) << 20  # bytes that abuse may cost


@pytest.fixture
def running(dtb):
    with Exporter(f"--path.devicetree={dtb(BOARD)}") as it:
        yield it


def rss(running):
    status = pathlib.Path(f"/proc/{running.pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+) kB$", status, re.M)[1]) * 1024


def open_files(running):
    return len(list(pathlib.Path(f"/proc/{running.pid}/fd").iterdir()))


def scrape(running):
    """Seconds that a scrape takes."""
    begin = time.monotonic()
    assert running.get("/metrics").status == 200
    return time.monotonic() - begin


@contextlib.contextmanager
def peers(running, count, sent=b""):
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            peer = stack.enter_context(running.connect())
            with contextlib.suppress(ConnectionError):
                peer.sendall(sent)
            made.append(peer)
        yield made


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\nA: ", b"\x16\x03\x01\x02"],
                         ids=["nothing", "half a request", "half a TLS hello"])
def test_a_thousand_silent_peers_hold_up_no_scrape(running, sent):
    scrape(running)
    before, files = rss(running), open_files(running)
    with peers(running, SILENT_PEERS, sent):
        taken = [scrape(running) for _ in range(20)]
        assert max(taken) < SCRAPE_SECONDS, taken
        assert rss(running) - before < GROWTH
        assert open_files(running) <= files + MAX_CONNECTIONS
    assert scrape(running) < SCRAPE_SECONDS
    wait_until(lambda: open_files(running) <= files, "their descriptors are free again", seconds=20)


def test_peers_that_send_a_byte_now_and_then_hold_up_no_scrape(running):
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 1000
    with peers(running, 50) as slow:
        taken = []
        for byte in request[:60]:
            for peer in slow:
                with contextlib.suppress(OSError):
                    peer.sendall(bytes([byte]))
            taken.append(scrape(running))
        assert max(taken) < SCRAPE_SECONDS, taken


def test_who_never_ends_a_request_is_hung_up_on(running):
    with running.connect() as silent, running.connect() as slow:
        begin = time.monotonic()
        slow.sendall(b"GET /metrics HTTP/1.1\r\n")
        open_peers = {silent, slow}
        while open_peers:
            assert time.monotonic() - begin < 20
            for peer in select.select(open_peers, [], [], 0.1)[0]:
                with contextlib.suppress(ConnectionError):
                    assert peer.recv(1) == b""
                open_peers.discard(peer)
        assert time.monotonic() - begin > 4, "not at once either"


def test_a_kept_connection_may_be_idle_between_scrapes(running):
    ask = b"GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n"
    with running.connect() as peer:
        for _ in range(2):
            peer.sendall(ask)
            assert peer.recv(4096).endswith(b"Ready.\n")
            time.sleep(8)  # longer than a silent newcomer may be
        peer.sendall(ask)
        assert peer.recv(4096).endswith(b"Ready.\n")


def test_as_many_connections_as_there_is_room_for_are_kept_and_one_more_ends_the_longest_idle(dtb):
    ask = b"GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n"
    with Exporter(f"--path.devicetree={dtb(BOARD)}", under=["prlimit", "--nofile=4096"]) as running:
        files = open_files(running)
        with peers(running, MAX_CONNECTIONS) as kept:
            for peer in kept:
                peer.sendall(ask)
                assert peer.recv(4096).endswith(b"Ready.\n")
            with running.connect() as newcomer:
                newcomer.sendall(ask)
                assert newcomer.recv(4096).endswith(b"Ready.\n")
                assert kept[0].recv(1) == b""
                for peer in kept[1:]:
                    peer.sendall(ask)
                    assert peer.recv(4096).endswith(b"Ready.\n")
        wait_until(lambda: open_files(running) <= files, "their descriptors are free again", seconds=20)


def test_peers_that_do_not_read_hold_up_no_scrape(running):
    ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 200
    before = rss(running)
    with peers(running, 300, ask):
        assert max(scrape(running) for _ in range(20)) < SCRAPE_SECONDS
        assert rss(running) - before < GROWTH
    assert scrape(running) < SCRAPE_SECONDS


def test_few_descriptors_are_enough(dtb):
    with Exporter(f"--path.devicetree={dtb(BOARD)}", under=["prlimit", "--nofile=40"]) as running:
        with peers(running, 100):
            assert max(scrape(running) for _ in range(20)) < SCRAPE_SECONDS
            assert open_files(running) <= 40
        assert running.stderr.count("\n") <= 3, "nor does the log fill"
        running.stop()


def test_many_requests_at_once_are_answered_in_turn(running):
    count = 1000
    ask = b"GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n" * (count - 1)
    answer = running.raw(ask + b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == count
    assert answer.endswith(b"Healthy.\n")


GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n"
# RFC 9110 and 9112.
WRONG = [
    (GET + b"A: " + b"a" * 100_000 + b"\r\n\r\n", 431),
    (GET + b"A: b\r\n" * 10_000 + b"\r\n", 431),
    (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
    (GET + b"Host: y\r\n\r\n", 400),
    (GET + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (GET + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
    (GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    (GET + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
    (GET + b"Content-Length: 1000000\r\n\r\n" + b"a" * 100_000, 413),
    (b"GET /metrics HTTP/9.9\r\nHost: x\r\n\r\n", 505),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    (b"GET /metrics\r\n\r\n", 400),
    (b"\x00\x01\x02\x03\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 600, 400),
    (b"POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 405),
    (b"TRACE /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nSecret: a\r\n\r\n", 405),
    (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
    (b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
    (b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
    (b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
    (b"GET /metrics%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
    (b"GET //metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
    (b"GET /metrics\\ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
]


@pytest.mark.parametrize("request_bytes, status", WRONG, ids=lambda value: repr(value)[:45])
def test_what_is_wrong_gets_the_status_that_says_so(running, request_bytes, status):
    with running.connect() as peer:
        peer.sendall(request_bytes)
        answer = b"".join(iter(lambda: peer.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"Secret" not in answer
    assert scrape(running) < SCRAPE_SECONDS


def test_a_second_request_is_not_hidden_in_the_first(running):
    """Of a request that could be read in two ways nothing is taken for another one."""
    smuggled = GET + b"Transfer-Encoding: chunked\r\nContent-Length: 60\r\n\r\n0\r\n\r\n" + GET + b"\r\n"
    assert running.raw(smuggled).count(b"HTTP/1.1 ") == 1
