"""The HTTP server, asked by real clients over real sockets."""

import gzip
import re
import subprocess
import zlib

import pytest

from exporter import Exporter, request, wait_until, without_live_lines

BOARD = "jetson-nano"

# Accept-Encoding (None: no such header) and whether the answer is gzip: RFC 9110, 12.5.3.
ENCODINGS = [
    (None, False),
    ("", False),
    ("gzip", True),
    ("GZIP", True),
    ("gzip;q=1", True),
    ("gzip; q=0.5", True),
    ("gzip ;q=0.001", True),
    ("deflate, gzip", True),
    ("br;q=1.0,gzip;q=0.8,*;q=0.1", True),
    ("gzip;q=0", False),
    ("gzip;q=0.0", False),
    ("gzip; Q=0.000", False),
    ("gzip;q=0, *", False),
    ("identity", False),
    ("deflate", False),
    ("br", False),
    ("*;q=0", False),
    ("gzipped", False),
    ("not-gzip", False),
]


@pytest.fixture(scope="module")
def exporter(dtb):
    with Exporter(f"--path.devicetree={dtb(BOARD)}", "-n", "gpu") as running:
        yield running


@pytest.fixture(scope="module")
def plain(exporter):
    return without_live_lines(exporter.get("/metrics").body)


@pytest.fixture(scope="module")
def zipped(exporter):
    answer = exporter.get("/metrics", {"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    return answer.body


@pytest.mark.parametrize("accept, is_gzip", ENCODINGS)
def test_the_encoding_is_one_that_the_client_accepts(exporter, plain, accept, is_gzip):
    headers = {} if accept is None else {"Accept-Encoding": accept}
    answer = exporter.get("/metrics", headers)
    assert answer.status == 200
    assert answer.headers.get("Content-Encoding") == ("gzip" if is_gzip else None)
    body = gzip.decompress(answer.body) if is_gzip else answer.body
    assert without_live_lines(body) == plain


def test_any_encoding_may_be_gzip_or_none(exporter, plain):
    answer = exporter.get("/metrics", {"Accept-Encoding": "*"})
    decode = {"gzip": gzip.decompress, None: bytes}[answer.headers.get("Content-Encoding")]
    assert without_live_lines(decode(answer.body)) == plain


@pytest.mark.parametrize("headers", [{}, {"Accept-Encoding": "gzip"}])
def test_a_cache_is_told_what_the_answer_depends_on(exporter, headers):
    assert exporter.get("/metrics", headers).headers["Vary"] == "Accept-Encoding"


def test_gzip_reads_the_body(zipped, plain):
    assert without_live_lines(gzip.decompress(zipped)) == plain


def test_zlib_reads_the_body_in_one_shot(zipped, plain):
    """Clients that stop at the end of the first gzip member see everything too."""
    inflater = zlib.decompressobj(wbits=31)
    body = inflater.decompress(zipped)
    assert inflater.eof
    assert inflater.unused_data == b""
    assert without_live_lines(body) == plain


def test_curl_reads_the_body(exporter, plain):
    fetched = subprocess.run(
        ["curl", "--compressed", "--silent", "--show-error", "--fail", f"{exporter.url}/metrics"],
        capture_output=True,
        check=False,
    )
    assert (fetched.returncode, fetched.stderr) == (0, b"")
    assert without_live_lines(fetched.stdout) == plain


def test_the_live_lines_come_in_both_encodings(exporter, zipped):
    line = re.compile(rb"^process_start_time_seconds \S+$", re.MULTILINE)
    assert line.findall(gzip.decompress(zipped)) == line.findall(exporter.get("/metrics").body)


@pytest.mark.parametrize("headers", [{}, {"Accept-Encoding": "gzip"}])
def test_the_headers_say_what_the_body_is(exporter, headers):
    answer = exporter.get("/metrics", headers)
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("path", ["/metrics", "/-/ready", "/-/healthy"])
def test_head_gives_the_headers_of_get_without_a_body(exporter, path):
    answer = exporter.raw(f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    assert body == b""
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    got = exporter.get(path)
    assert headers[b"content-type"].decode() == got.headers["Content-Type"].lower()
    # process_* values may differ by a few digits from one request to the next.
    assert abs(int(headers[b"content-length"]) - len(got.body)) < 100


def test_it_is_healthy_and_ready(exporter):
    assert exporter.get("/-/healthy").status == 200
    assert exporter.get("/-/ready").status == 200


@pytest.mark.parametrize(
    "path", ["/nope", "/metrics/", "/metricsx", "/metrics/x", "/-/", "/-/reload/x"]
)
def test_an_unknown_path_is_not_found(exporter, path):
    assert exporter.get(path).status == 404


def test_a_query_is_no_part_of_the_path(exporter):
    assert exporter.get("/metrics?name[]=up").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_another_method_is_refused_with_what_is_allowed(exporter, method):
    answer = exporter.request(method, "/metrics", {"Content-Length": "0"})
    assert answer.status == 405
    assert {name.strip() for name in answer.headers["Allow"].split(",")} == {"GET", "HEAD"}


@pytest.mark.parametrize(
    "garbage",
    [b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET " + b"/a" * 40000],
)
def test_a_broken_request_harms_nobody_else(exporter, garbage):
    with exporter.connect() as peer:
        peer.sendall(garbage)
        assert exporter.get("/metrics").status == 200


@pytest.mark.parametrize("listen, host", [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")])
def test_it_listens_on_that_address(dtb, listen, host):
    with Exporter(f"--path.devicetree={dtb(BOARD)}", listen=[listen]) as exporter:
        assert exporter.host == host
        assert exporter.get("/metrics").status == 200


def test_a_port_alone_is_ipv4_and_ipv6(dtb):
    with Exporter(f"--path.devicetree={dtb(BOARD)}", listen=[":0"]) as exporter:
        assert exporter.get("/metrics", host="127.0.0.1").status == 200
        assert exporter.get("/metrics", host="::1").status == 200


def test_the_address_can_be_given_more_than_once(dtb):
    with Exporter(
        f"--path.devicetree={dtb(BOARD)}", listen=["127.0.0.1:0", "[::1]:0"]
    ) as exporter:
        wait_until(lambda: len(exporter.addresses) == 2, "two Listening lines")
        assert sorted(host for host, _ in exporter.addresses) == ["127.0.0.1", "::1"]
        for host, port in exporter.addresses:
            assert request(host, port, "GET", "/metrics").status == 200
