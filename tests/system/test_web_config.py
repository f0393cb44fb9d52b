"""The web configuration file at work: TLS, client certificates, users, headers, rotation.

Peers: curl, Python's ssl (OpenSSL), both generations of Prometheus, and node_exporter, whose
exporter-toolkit defines the format.
"""

import base64
import concurrent.futures
import contextlib
import ctypes
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import time

import pytest

import exporter
from conftest import PROMETHEUS_VERSIONS
from control_plane import issue_certificate, make_ca
from exporter import Exporter, wait_until
from prometheus_server import Prometheus

BOARD = "jetson-nano"


def bcrypt(password, cost=4):
    """A hash as htpasswd -nB makes it, by the system's libcrypt."""
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    return crypt(password.encode(), f"$2y${cost:02}$abcdefghijklmnopqrstuu".encode()).decode()


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class Pki:
    """Certificates in `folder`, NAME.pem and NAME.key: server, other (another of that server),
    client, and stranger, whom another authority knows."""

    def __init__(self, folder):
        self.folder = folder
        self.ca = make_ca(folder)
        for name in ["server", "other"]:
            issue_certificate(self.ca, folder, name, ["localhost", "127.0.0.1"])
        command = ["openssl", "req", "-x509", "-newkey", "rsa:512", "-nodes", "-subj", "/CN=small",
                   "-keyout", folder / "small.key", "-out", folder / "small.pem"]
        subprocess.run(command, check=True, capture_output=True)
        issue_certificate(self.ca, folder, "client", ["prometheus.example", "192.0.2.7"],
                          names=["RID:1.2.3.4", "email:a@example.org", "URI:spiffe://example.org/prometheus"])
        issue_certificate(make_ca(folder, "strangers"), folder, "stranger", ["prometheus.example"])

    def context(self, client=None, least=None, most=None, ciphers=None):
        context = ssl.create_default_context(cafile=self.ca.file)
        if client:
            context.load_cert_chain(self.folder / f"{client}.pem", self.folder / f"{client}.key")
        if ciphers:
            context.set_ciphers(ciphers)
        if least:
            context.minimum_version = least
        if most:
            context.maximum_version = most
        return context


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"


@pytest.fixture
def web(pki, tmp_path):
    """web(text) is the path of a web configuration beside a copy of the certificates."""
    for file in [*pki.folder.glob("*.pem"), *pki.folder.glob("*.key")]:
        shutil.copy(file, tmp_path)

    def write(text):
        beside = tmp_path / "web.yml.new"
        beside.write_text(text)
        return beside.rename(tmp_path / "web.yml")

    return write


@pytest.fixture
def serve(dtb, web, pki):
    """serve(text) is a running exporter with that web configuration."""
    with contextlib.ExitStack() as stack:

        def start(text, *flags, tls="default", headers=None):
            context = pki.context() if tls == "default" else tls
            return stack.enter_context(Exporter(
                f"--path.devicetree={dtb(BOARD)}", f"--web.config.file={web(text)}", *flags,
                tls=context, headers=headers))

        yield start


def status(running, context=None, path="/metrics", headers=None):
    """The status of a request with that TLS; None if the connection is refused."""
    try:
        return exporter.request(running.host, running.port, "GET", path, headers,
                                tls=context).status
    except (ssl.SSLError, ConnectionError):
        return None


# TLS.


def test_curl_scrapes_over_tls(serve, pki):
    running = serve(TLS)
    command = ["curl", "--silent", "--show-error", "--fail", "--compressed"]
    url = f"https://localhost:{running.port}/metrics"
    good = subprocess.run([*command, "--cacert", pki.ca.file, url],
                          capture_output=True, check=False)
    assert (good.returncode, good.stderr) == (0, b"")
    assert b"devicetree_present 1" in good.stdout
    bad = subprocess.run([*command, url], capture_output=True, check=False)
    assert bad.returncode == 60  # CURLE_PEER_FAILED_VERIFICATION


def test_plain_http_is_told_that_this_is_https(serve):
    running = serve(TLS)
    answer = running.raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b"Client sent an HTTP request to an HTTPS server.\n")


def test_a_connection_is_kept_over_tls_too(serve, pki):
    running = serve(TLS)
    with socket.create_connection((running.host, running.port), timeout=10) as raw:
        with pki.context().wrap_socket(raw, server_hostname="localhost") as peer:
            assert peer.version() == "TLSv1.3"
            for _ in range(3):
                peer.sendall(b"GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = b""
                while not answer.endswith(b"Ready.\n"):
                    answer += peer.recv(4096)
                assert answer.startswith(b"HTTP/1.1 200 OK")


def test_alpn_settles_on_http_1_1(serve, pki):
    running = serve(TLS)
    context = pki.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection((running.host, running.port), timeout=10) as raw:
        with context.wrap_socket(raw, server_hostname="localhost") as peer:
            assert peer.selected_alpn_protocol() == "http/1.1"
    context.set_alpn_protocols(["h2"])
    assert status(running, context) == 200  # it is told of none, as RFC 7301 has it for no overlap


def test_a_chain_of_certificates_is_shown_whole(serve, web, pki, tmp_path):
    between = make_ca(tmp_path, "between", pki.ca)
    issue_certificate(between, tmp_path, "leaf", ["localhost", "127.0.0.1"])
    chain = (tmp_path / "leaf.pem").read_text() + (tmp_path / "between.pem").read_text()
    (tmp_path / "chain.pem").write_text(chain)
    running = serve("tls_server_config: {cert_file: chain.pem, key_file: leaf.key}\n")
    assert status(running, pki.context()) == 200  # who knows the root alone


def test_certificates_may_stand_in_the_file_itself(serve, pki):
    def block(key, file):
        lines = (pki.folder / file).read_text().splitlines()
        return f"  {key}: |\n" + "".join(f"    {line}\n" for line in lines)

    running = serve(
        "tls_server_config:\n" + block("cert", "server.pem") + block("key", "server.key")
        + block("client_ca", "ca.pem") + "  client_auth_type: RequireAndVerifyClientCert\n",
        tls=pki.context("client"))
    assert status(running, pki.context("client")) == 200
    assert status(running, pki.context("stranger")) is None


def test_requests_are_answered_over_tls_as_without(serve, pki):
    running = serve(TLS, "--web.enable-lifecycle")

    def exchange(*pieces):
        """What is answered to the pieces, each of which is sent once the one before has an answer."""
        with socket.create_connection((running.host, running.port), timeout=10) as raw:
            with pki.context().wrap_socket(raw, server_hostname="localhost") as peer:
                answer = b""
                for piece in pieces:
                    peer.sendall(piece)
                    answer += peer.recv(65536)
                with contextlib.suppress(ssl.SSLError):
                    while more := peer.recv(65536):
                        answer += more
                return answer

    last = b"Host: x\r\nConnection: close\r\n"
    head = exchange(b"HEAD /metrics HTTP/1.1\r\n" + last + b"\r\n")
    assert head.startswith(b"HTTP/1.1 200 ") and head.endswith(b"\r\n\r\n")
    post = b"POST /-/reload HTTP/1.1\r\n" + last + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    assert b"HTTP/1.1 200 " in exchange(post, b"body").removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert exchange(b"GET / HTTP/1.1\r\nno header\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert exchange(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")


V = ssl.TLSVersion
VERSIONS = [
    # what is configured, and the versions that a client then gets
    ("", {V.TLSv1_2, V.TLSv1_3}),
    ("min_version: TLS13", {V.TLSv1_3}),
    ("max_version: TLS12", {V.TLSv1_2}),
    ("min_version: TLS10", {V.TLSv1, V.TLSv1_1, V.TLSv1_2, V.TLSv1_3}),
    ("min_version: TLS11, max_version: TLS11".replace(", ", "\n  "), {V.TLSv1_1}),
    ("cipher_suites: [TLS_AES_128_GCM_SHA256]", {V.TLSv1_3}),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("configured, spoken", VERSIONS, ids=lambda value: str(value)[:30])
def test_the_versions_are_those_configured(serve, pki, configured, spoken):
    every = pki.context(least=V.TLSv1, ciphers="ALL:@SECLEVEL=0")
    running = serve(f"{TLS}  {configured}\n", tls=every)
    for version in [V.TLSv1, V.TLSv1_1, V.TLSv1_2, V.TLSv1_3]:
        context = pki.context(least=version, most=version, ciphers="ALL:@SECLEVEL=0")
        assert status(running, context) == (200 if version in spoken else None), version


def shared_cipher(running, context):
    with socket.create_connection((running.host, running.port), timeout=10) as raw:
        with context.wrap_socket(raw, server_hostname="localhost") as peer:
            return peer.cipher()[0]


def test_cipher_suites_are_those_configured_in_the_servers_order(serve, pki):
    suites = ("cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "
              "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256]")
    running = serve(f"{TLS}  {suites}\n")
    tls12 = {"most": V.TLSv1_2}
    ours_last = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"
    assert shared_cipher(running, pki.context(**tls12, ciphers=ours_last)) == \
        "ECDHE-ECDSA-AES256-GCM-SHA384"
    assert shared_cipher(running, pki.context()) == "TLS_CHACHA20_POLY1305_SHA256"
    assert status(running, pki.context(**tls12, ciphers="ECDHE-ECDSA-CHACHA20-POLY1305")) is None


def test_the_client_may_choose_the_cipher_suite_where_that_is_configured(serve, pki):
    running = serve(f"{TLS}  prefer_server_cipher_suites: false\n  cipher_suites: "
                    "[TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "
                    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n")
    wish = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"
    assert shared_cipher(running, pki.context(most=V.TLSv1_2, ciphers=wish)) == \
        "ECDHE-ECDSA-AES128-GCM-SHA256"


@pytest.mark.parametrize("curve, taken", [("P-384", True), ("X25519", False)])
def test_curves_are_those_configured(serve, pki, curve, taken):
    running = serve(f"{TLS}  curve_preferences: [CurveP384, CurveP521]\n")
    ended = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{running.port}", "-groups", curve,
         "-CAfile", pki.ca.file],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode == 0) == taken, ended.stdout + ended.stderr


# Client certificates: Go's crypto/tls, ClientAuthType.

CLIENTS = [
    # client_auth_type, CA given; may come: nobody, client, stranger
    ("NoClientCert", False, (True, True, True)),
    ("RequestClientCert", False, (True, True, True)),
    ("RequireAnyClientCert", False, (False, True, True)),
    ("RequireClientCert", False, (False, True, True)),
    ("VerifyClientCertIfGiven", True, (True, True, False)),
    ("RequireAndVerifyClientCert", True, (False, True, False)),
    ("RequireAndVerifyClientCert", False, (False, False, False)),  # of the system's CAs
]


@pytest.mark.parametrize("auth, with_ca, may", CLIENTS)
def test_client_certificates_are_asked_for_as_configured(serve, web, pki, auth, with_ca, may):
    ca = "  client_ca_file: ca.pem\n" if with_ca else ""
    running = serve(TLS)  # to all, until it is ready
    web(f"{TLS}  client_auth_type: {auth}\n{ca}")
    got = tuple(status(running, pki.context(name)) == 200 for name in [None, "client", "stranger"])
    assert got == may


SANS = [
    (["prometheus.example"], True),
    (["other.example", "192.0.2.7"], True),
    (["a@example.org"], True),
    (["spiffe://example.org/prometheus"], True),
    (["PROMETHEUS.example"], False),
    (["*.example"], False),
    (["192.0.2.70"], False),
    (["client"], False),  # its common name is none
]


@pytest.mark.parametrize("sans, taken", SANS)
def test_a_client_must_have_an_allowed_name(serve, pki, sans, taken):
    names = ", ".join(f"'{san}'" for san in sans)
    text = (f"{TLS}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n"
            f"  client_allowed_sans: [{names}]\n")
    running = serve(text)
    assert (status(running, pki.context("client")) == 200) == taken
    assert status(running, pki.context("stranger")) is None


# Users.


@pytest.fixture
def users():
    return f"basic_auth_users:\n  ada: {bcrypt('secret')}\n  bob: {bcrypt('hunter2', 5)}\n"


def test_users_and_their_passwords(serve, users):
    running = serve(users, tls=None, headers=basic("ada", "secret"))
    for path in ["/", "/metrics", "/inventory.json", "/-/healthy", "/-/ready", "/nope"]:
        refused = exporter.request(running.host, running.port, "GET", path)
        assert refused.status == 401
        assert refused.headers["WWW-Authenticate"].startswith("Basic ")
        assert b"jetson" not in refused.body.lower()
    assert running.get("/metrics").status == 200
    assert status(running, headers=basic("bob", "hunter2")) == 200
    for user, password in [("ada", "hunter2"), ("bob", "secret"), ("eve", "secret"), ("", ""),
                           ("ada", ""), ("ada", "secret\0"), ("Ada", "secret")]:
        assert status(running, headers=basic(user, password)) == 401, (user, password)
    curl = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]
    asked = subprocess.run([*curl, "--user", "ada:secret", f"{running.url}/metrics"],
                           capture_output=True, text=True, check=True)
    assert asked.stdout == "200"
    assert "secret" not in running.stderr and "hunter2" not in running.stderr
    assert "$2y$" not in running.stderr


def test_a_flood_of_wrong_passwords_holds_up_no_scrape(serve):
    running = serve(f"basic_auth_users:\n  ada: {bcrypt('secret', 12)}\n", tls=None,
                    headers=basic("ada", "secret"))
    deadline = time.monotonic() + 8

    def guess(number):
        seen = set()
        while time.monotonic() < deadline:
            seen.add(status(running, headers=basic("ada", f"guess {number} {time.monotonic()}")))
        return seen

    with concurrent.futures.ThreadPoolExecutor(16) as flood:
        guesses = [flood.submit(guess, number) for number in range(16)]
        taken = []
        while time.monotonic() < deadline:
            begin = time.monotonic()
            assert running.get("/metrics").status == 200
            taken.append(time.monotonic() - begin)
            time.sleep(0.02)
        seen = set().union(*(each.result() for each in guesses))
    assert seen <= {401, 503} and 401 in seen, seen
    print(f"{len(taken)} scrapes during the flood: median {sorted(taken)[len(taken) // 2]:.4f} s, "
          f"worst {max(taken):.3f} s")
    assert max(taken) < 3


# Headers, and the limit.


def test_headers_are_set_as_configured(serve):
    text = ("http_server_config:\n  headers:\n    Strict-Transport-Security: max-age=31536000\n"
            "    X-Frame-Options: deny\n    Content-Security-Policy: default-src 'none'\n")
    running = serve(text, tls=None)
    for path in ["/", "/metrics", "/nope"]:
        headers = running.get(path).headers
        assert headers["Strict-Transport-Security"] == "max-age=31536000"
        assert headers["X-Frame-Options"] == "deny"
        assert headers.get_all("Content-Security-Policy") == ["default-src 'none'"]
        assert headers.get_all("X-Content-Type-Options") == ["nosniff"]


def test_the_rate_limit_answers_429_and_recovers(serve):
    running = serve("rate_limit:\n  interval: 500ms\n  burst: 4\n", tls=None)
    seen = [running.get("/metrics").status for _ in range(8)]
    assert 429 in seen, seen
    wait_until(lambda: running.get("/metrics").status == 200, "a token is back")


# Files that change.

METRIC = "devicetree_exporter_web_config_last_reload_successful"


def serial(running, pki):
    with socket.create_connection((running.host, running.port), timeout=10) as raw:
        with pki.context().wrap_socket(raw, server_hostname="localhost") as peer:
            return peer.getpeercert()["serialNumber"]


def replace(target, source):
    """As rotation does it: written beside, and renamed."""
    beside = target.with_suffix(".new")
    shutil.copy(source, beside)
    beside.rename(target)


def test_certificates_rotate_without_a_restart(serve, pki, tmp_path):
    running = serve(TLS)
    first = serial(running, pki)
    replace(tmp_path / "server.pem", tmp_path / "other.pem")
    # The key is still that of the first: what was good stays.
    assert serial(running, pki) == first
    body = running.metrics()
    assert f"\n{METRIC} 0\n" in body
    assert running.stderr.count("The web configuration is wrong; the old one stays") == 1
    assert f"{tmp_path}/web.yml:3:13: {tmp_path}/server.key: " in running.stderr
    replace(tmp_path / "server.key", tmp_path / "other.key")
    second = serial(running, pki)
    assert second != first
    assert f"\n{METRIC} 1\n" in running.metrics()


def test_certificates_rotate_as_kubernetes_does_it(dtb, pki, tmp_path):
    """A volume's files are links into a folder that a link, ..data, names."""
    for version, name in [("..1", "server"), ("..2", "other")]:
        (tmp_path / version).mkdir()
        shutil.copy(pki.folder / f"{name}.pem", tmp_path / version / "tls.crt")
        shutil.copy(pki.folder / f"{name}.key", tmp_path / version / "tls.key")
        (tmp_path / version / "web.yml").write_text(
            "tls_server_config: {cert_file: tls.crt, key_file: tls.key}\n")
    os.symlink("..1", tmp_path / "..data")
    for name in ["tls.crt", "tls.key", "web.yml"]:
        os.symlink(f"..data/{name}", tmp_path / name)
    with Exporter(f"--path.devicetree={dtb(BOARD)}", f"--web.config.file={tmp_path}/web.yml",
                  tls=pki.context()) as running:
        first = serial(running, pki)
        os.symlink("..2", tmp_path / "..new")
        os.rename(tmp_path / "..new", tmp_path / "..data")
        assert serial(running, pki) != first


def test_no_scrape_fails_while_certificates_rotate(serve, pki, tmp_path):
    running = serve(TLS)
    first = (tmp_path / "server.pem").read_bytes()
    with concurrent.futures.ThreadPoolExecutor(2) as scrapers:
        scrapes = [scrapers.submit(lambda: [status(running, pki.context()) for _ in range(100)])
                   for _ in range(2)]
        while not all(each.done() for each in scrapes):
            for name in ["other", "server"]:
                # Both files change between two connections, or the old pair still holds.
                shutil.copy(pki.folder / f"{name}.pem", tmp_path / "server.pem")
                shutil.copy(pki.folder / f"{name}.key", tmp_path / "server.key")
                time.sleep(0.01)
    assert {code for each in scrapes for code in each.result()} == {200}
    assert first == (tmp_path / "server.pem").read_bytes()


def test_users_change_without_a_restart_on_a_kept_connection_too(serve, web):
    running = serve(f"basic_auth_users: {{ada: {bcrypt('secret')}}}\n", tls=None,
                    headers=basic("ada", "secret"))
    line = basic("ada", "secret")["Authorization"]
    ask = f"GET /-/ready HTTP/1.1\r\nHost: x\r\nAuthorization: {line}\r\n\r\n".encode()
    with running.connect() as peer:
        peer.sendall(ask)
        assert b"200 OK" in peer.recv(65536)
        web(f"basic_auth_users: {{bob: {bcrypt('hunter2')}}}\n")
        peer.sendall(ask)
        assert b"401 Unauthorized" in peer.recv(65536)
    assert status(running, headers=basic("bob", "hunter2")) == 200


@pytest.mark.parametrize("moment", ["", "\n"])
def test_a_file_that_is_empty_while_it_is_written_opens_nothing(serve, tmp_path, moment):
    running = serve(f"basic_auth_users: {{ada: {bcrypt('secret')}}}\n", tls=None,
                    headers=basic("ada", "secret"))
    in_place = tmp_path / "web.yml"
    in_place.write_text(moment)
    assert status(running) == 401, "never open to all"
    assert f"\n{METRIC} 0\n" in running.metrics()
    in_place.write_text(f"basic_auth_users: {{bob: {bcrypt('hunter2')}}}\n")
    assert status(running, headers=basic("bob", "hunter2")) == 200
    in_place.write_text("{}\n")
    assert status(running) == 200, "open to all, as was asked for"


def test_a_file_that_goes_or_breaks_leaves_what_held(serve, web, tmp_path):
    running = serve(f"basic_auth_users: {{ada: {bcrypt('secret')}}}\n", tls=None,
                    headers=basic("ada", "secret"))
    for change in [lambda: web("basic_auth_users: {ada: secret}\n"),
                   lambda: (tmp_path / "web.yml").unlink(),
                   lambda: web("tls_server_config: {cert_file: gone.pem, key_file: server.key}\n")]:
        change()
        assert status(running) == 401, "never open to all"
        assert f"\n{METRIC} 0\n" in running.metrics()
    wait_until(lambda: running.stderr.count("The web configuration is wrong") == 3, "each is said")
    assert "no bcrypt hash" in running.stderr
    assert "gone.pem: No such file or directory; expected a certificate in PEM" in running.stderr


# What is wrong at the start.

WRONG = [
    ("tls_server_config: {cert_file: gone.pem, key_file: server.key}\n",
     "web.yml:1:32: {0}/gone.pem: No such file or directory; expected a certificate in PEM"),
    ("tls_server_config: {cert_file: server.key, key_file: server.key}\n",
     "web.yml:1:32: {0}/server.key: no start line; expected a certificate in PEM"),
    ("tls_server_config: {cert_file: ., key_file: server.key}\n",
     "Is a directory; expected a certificate in PEM"),
    ("tls_server_config: {cert_file: server.pem, key_file: other.key}\n",
     "web.yml:1:54: {0}/other.key: key values mismatch; expected the certificate's private key in "
     "PEM, without a password"),
    ("tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: web.yml, "
     "client_auth_type: RequireAndVerifyClientCert}\n",
     "web.yml:1:82: {0}/web.yml: no start line; expected certificates in PEM"),
    ("tls_server_config: {cert: nonsense, key_file: server.key}\n",
     "web.yml:1:27: no start line; expected a certificate in PEM"),
    ("tls_server_config: {cert_file: small.pem, key_file: small.key}\n",
     "web.yml:1:32: {0}/small.pem: ee key too small; expected a certificate in PEM"),
    (TLS + "  max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
     "cipher_suites of TLS 1.3 alone, and a max_version below it; expected a suite of TLS 1.2 as well"),
    ("basic_auth_users: {ada: secret}\n", "web.yml:1:25: no bcrypt hash"),
    ("nonsense: 1\n", "web.yml:1:1: unknown key"),
    ("a: &x [*x]\n", "web.yml:1:4: an anchor"),
]


@pytest.mark.parametrize("text, message", WRONG, ids=lambda value: value[:50])
@pytest.mark.parametrize("flag", ["--config.check", "--web.listen-address=127.0.0.1:0"])
def test_a_wrong_file_is_refused_at_the_start(web, text, message, flag, tmp_path):
    ended = exporter.run(f"--web.config.file={web(text)}", flag)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert len(ended.stderr.splitlines()) == 1
    assert message.format(tmp_path) in ended.stderr


def test_an_encrypted_key_asks_nobody_for_a_password(web, tmp_path):
    subprocess.run(["openssl", "ec", "-aes128", "-passout", "pass:x", "-in",
                    tmp_path / "server.key", "-out", tmp_path / "locked.key"],
                   check=True, capture_output=True)
    text = "tls_server_config: {cert_file: server.pem, key_file: locked.key}\n"
    ended = exporter.run(f"--web.config.file={web(text)}", "--config.check")
    assert ended.returncode == 2
    assert "without a password" in ended.stderr


# The format is exporter-toolkit's: node_exporter takes and refuses the same files, but for
# those that would not do what they say (exporter/web_config.h).

FILES = [
    ("", True),
    (TLS, True),
    ("tls_server_config: {cert_file: server.pem}\n", False),
    ("tls_server_config: {key_file: server.key}\n", False),
    (TLS + "  min_version: TLS14\n", False),
    (TLS + "  min_version: TLS10\n  max_version: TLS13\n", True),
    (TLS + "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, TLS_AES_128_GCM_SHA256, "
           "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n", True),
    (TLS + "  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n", False),
    (TLS + "  curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]\n", True),
    (TLS + "  curve_preferences: [X448]\n", False),
    (TLS + "  client_auth_type: Nonsense\n", False),
    (TLS + "  client_auth_type: RequestClientCert\n", True),
    (TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n", True),
    (TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: gone.pem\n", False),
    (TLS + "  client_ca_file: ca.pem\n", False),
    (TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
           "  client_allowed_sans: [a]\n", True),
    (TLS + "  unknown: 1\n", False),
    (TLS + "http_server_config: {http2: false}\n", True),
    ("http_server_config: {headers: {X-Frame-Options: deny}}\n", True),
    ("http_server_config: {headers: {X-Frame-Options: allow}}\n", False),
    ("http_server_config: {headers: {X-XSS-Protection: 1}}\n", True),
    ("http_server_config: {headers: {Server: x}}\n", False),
    ("basic_auth_users: {ada: HASH}\n", True),
    ("basic_auth_users: {ada: secret}\n", False),
    ("rate_limit: {interval: 1s, burst: 3}\n", True),
    ("rate_limit: {interval: 0, burst: 0}\n", True),
    ("rate_limit: {interval: often, burst: 3}\n", False),
    ("junk\n", False),
]


def node_exporter_takes(path):
    program = pathlib.Path(os.environ["DTE_PEERS"]) / "node_exporter"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [program, "--collector.disable-defaults", f"--web.config.file={path}",
         f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                time.sleep(0.3)  # it listens before it reads the file
                return process.poll() is None
            time.sleep(0.02)
        return False
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("text, taken", FILES, ids=lambda value: str(value)[:60])
def test_node_exporter_takes_the_same_files(web, text, taken):
    path = web(text.replace("HASH", bcrypt("secret")))
    ours = exporter.run(f"--web.config.file={path}", "--config.check").returncode
    assert ours == (0 if taken else 2)
    assert node_exporter_takes(path) == taken


# Prometheus.


@pytest.mark.parametrize("version", PROMETHEUS_VERSIONS)
def test_prometheus_scrapes_over_tls_with_a_user_and_a_client_certificate(
        serve, pki, users, prometheus_program, version, tmp_path):
    text = (f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
            f"  client_allowed_sans: [prometheus.example]\n{users}")
    running = serve(text, tls=pki.context("client"), headers=basic("ada", "secret"))
    target = f"""
  scheme: https
  static_configs: [{{targets: ["127.0.0.1:{running.port}"]}}]
"""
    authority = f"ca_file: {pki.ca.file}"
    client = f"cert_file: {pki.folder}/client.pem, key_file: {pki.folder}/client.key"
    stranger = client.replace("/client.", "/stranger.")
    config = f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: good
  tls_config: {{{authority}, {client}}}
  basic_auth: {{username: ada, password: secret}}{target}
- job_name: wrong password
  tls_config: {{{authority}, {client}}}
  basic_auth: {{username: ada, password: wrong}}{target}
- job_name: stranger
  tls_config: {{{authority}, {stranger}}}
  basic_auth: {{username: ada, password: secret}}{target}
"""
    folder = tmp_path / "prometheus"
    folder.mkdir()
    with Prometheus(prometheus_program(version, "prometheus"), folder, config) as peer:
        wait_until(lambda: len(peer.query("count_over_time(up[1m]) >= 3")) == 3,
                   "three scrapes of each", seconds=60)
        up = {labels["job"]: value for labels, value in peer.query("min_over_time(up[1m])")}
        assert up == {"good": 1, "wrong password": 0, "stranger": 0}
        assert peer.query('devicetree_present{job="good"}')[0][1] == 1
        errors = {target["labels"]["job"]: target["lastError"]
                  for target in peer.api("targets")["activeTargets"]}
        assert errors["good"] == ""
        assert "401" in errors["wrong password"]
        assert re.search("tls|certificate|reset|EOF", errors["stranger"])
