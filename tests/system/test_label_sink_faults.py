"""What goes wrong between the exporter and the API server harms nothing, and mends itself.

Each test has a Node whose labels are right, and then gone while something between its
exporter and the API server is broken. Expected: the table in the contract of the label
sink, "Staying right": what to do about each answer; backoff from 0.8 s, doubling to
30 s, with full jitter; Retry-After wins.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import pathlib
import re
import shlex
import shutil
import statistics
import subprocess
import time
import typing

import fault_proxy
import pytest
from conftest import BOARDS, board_flags
from control_plane import NAME, PREFIX, ControlPlane, issue_certificate, make_ca
from exporter import Exporter, wait_until
from fault_proxy import FaultProxy, answer, chunk, endless, only, raw

BOARD = "jetson-nano"
HOST = "127.0.0.1"
HOST_NAME = "does-not-exist.invalid"  # RFC 6761: no name server knows it
WATCHER = f"{NAME}-watch"  # a ServiceAccount that may list and watch, too

# Of others, and to be left alone; the last two look like ours.
FOREIGN = {
    "kubernetes.io/arch": "arm64",
    "example.com/rack": "7",
    f"{PREFIX[:-1]}.example.com/gpu": "1",
    f"{PREFIX}set-by-somebody-else": "yes",
}

FIRST_BACKOFF_SECONDS = 0.8
MOST_BACKOFF_SECONDS = 30
MET_SECONDS = 30  # until the exporter has met a fault: its poll, and 15 s for an answer
CONVERGE_SECONDS = MOST_BACKOFF_SECONDS + 15
SCRAPE_SECONDS = 1  # generous: 1 ms here
PAUSE_SECONDS = 0.02  # from one scrape to the next
SCRAPES_BEFORE = 25  # each of /metrics and of /-/ready
# A sanitizer keeps memory of its own.
MEMORY_BYTES = (512 if "DTE_SANITIZED" in os.environ else 32) << 20
PART_OF_TOKEN = 24  # characters

CANNOT_SET = "The Node's labels cannot be set; trying again"
CAN_SET = "The Node's labels can be set again"
CANNOT_WATCH = "The Node cannot be watched; looking at it regularly"
CAN_WATCH = "The Node is watched again"

ACCESS = f"""
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: labels}}
rules: [{{apiGroups: [""], resources: [nodes], verbs: [get, patch]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: watch}}
rules: [{{apiGroups: [""], resources: [nodes], verbs: [list, watch]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: labels}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: labels}}
subjects:
- {{kind: ServiceAccount, name: {NAME}, namespace: {NAME}}}
- {{kind: ServiceAccount, name: {WATCHER}, namespace: {NAME}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: watch}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: watch}}
subjects:
- {{kind: ServiceAccount, name: {WATCHER}, namespace: {NAME}}}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A ControlPlane of our own, which is stopped and frozen."""
    with ControlPlane(tmp_path_factory.mktemp("faults")) as running:
        running.apply(ACCESS)
        yield running


@dataclasses.dataclass
class Certificates:
    """CAs, and what a server on HOST and HOST_NAME could show."""

    ca: typing.Any
    good: typing.Any
    other_ca: typing.Any
    of_other_ca: typing.Any
    of_other_host: typing.Any
    expired: typing.Any
    not_yet_valid: typing.Any


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    ca, other_ca = make_ca(folder), make_ca(folder, "other-ca")
    hosts = [HOST, HOST_NAME]
    return Certificates(
        ca=ca,
        good=issue_certificate(ca, folder, "good", hosts),
        other_ca=other_ca,
        of_other_ca=issue_certificate(other_ca, folder, "of-other-ca", hosts),
        of_other_host=issue_certificate(ca, folder, "of-other-host", ["127.0.0.2", "example.com"]),
        expired=issue_certificate(ca, folder, "expired", hosts, days=-1),
        not_yet_valid=not_yet_valid(ca, folder, issue_certificate(ca, folder, "not-yet-valid", hosts)),
    )


def not_yet_valid(ca, folder, certificate):
    """Signs the request for this certificate again, to hold from the year 2090 on."""
    config = folder / "future-ca.cnf"
    config.write_text(
        f"[ca]\ndefault_ca = future\n[future]\ndatabase = {folder}/index.txt\nrand_serial = yes\n"
        f"new_certs_dir = {folder}\ndefault_md = sha256\npolicy = any\n[any]\ncommonName = supplied\n"
    )
    (folder / "index.txt").touch()
    stem = certificate.file.with_suffix("")
    subprocess.run(
        [
            *("openssl", "ca", "-batch", "-notext", "-config", config),
            *("-cert", ca.file, "-keyfile", ca.key, "-in", f"{stem}.csr", "-out", certificate.file),
            *("-startdate", "20900101000000Z", "-enddate", "20910101000000Z"),
            *("-extfile", f"{stem}.cnf", "-extensions", "extensions"),
        ],
        check=True,
        capture_output=True,
    )
    return certificate


@pytest.fixture
def proxy(cluster, certificates):
    with FaultProxy(cluster, certificates.good) as running:
        yield running


def revoked(token):
    """A token that no server takes."""
    return token[:-20] + "AAAAAAAAAAAAAAAAAAAA"


class Bench:
    """A Node of its own and all that its exporter is started with; a context manager.

    node, labels     its name; the labels it should carry under the prefix
    token            the exporter's; rotate() gives it another
    ca_file          that the exporter trusts
    exporter         the one that runs; start() starts one
    """

    _numbers = itertools.count()

    def __init__(self, cluster, proxy, certificates, folder, flags):
        self.cluster, self.proxy, self.certificates = cluster, proxy, certificates
        self.folder = folder
        self.node = f"node-{next(self._numbers)}"
        lines = (BOARDS / BOARD / "expected/dry_run.txt").read_text().splitlines()
        self.labels = dict(line.split(": ") for line in lines if line.startswith(PREFIX))
        assert self.labels
        self.ca_file = folder / "ca.pem"
        self.trust(certificates.ca)
        self._flags = flags
        self._tokens = set()
        self._rotations = itertools.count()
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        self.cluster.create_node(self.node, FOREIGN)
        self.rotate(self.new_token())
        return self

    def __exit__(self, *_):
        self._stack.close()
        print(self.exporter.stderr)
        print(*self.proxy.exchanges, sep="\n")

    def start(self, *flags, server=None, ca=None, under=(), resync="1s"):
        """Starts the exporter, and waits until the Node carries its labels."""
        kubeconfig = self.cluster.kubeconfig(
            self.folder / "kubeconfig",
            user={"tokenFile": str(self.folder / "token")},
            cluster={
                "server": server or f"https://{HOST}:{self.proxy.port}",
                "certificate-authority": str(ca or self.ca_file),
            },
        )
        self.exporter = self._stack.enter_context(
            Exporter(
                *self._flags,
                "--labels.kubernetes",
                f"--kubeconfig={kubeconfig}",
                f"--kubernetes.node-name={self.node}",
                f"--kubernetes.resync-interval={resync}",
                "--kubernetes.start-jitter=0",
                *flags,
                under=under,
            )
        )
        wait_until(self.is_labelled, "the Node's labels", CONVERGE_SECONDS)
        wait_until(lambda: "Applied" in self.exporter.stderr, "the answer to the apply")

    def trust(self, ca):
        new = self.folder / "new-ca.pem"
        new.write_bytes(ca.file.read_bytes())
        new.rename(self.ca_file)

    def new_token(self, service_account=NAME):
        return self.cluster.node_token(self.node, service_account)

    def rotate(self, token):
        """Changes the token file as a kubelet does: by the swap of a symbolic link to a folder."""
        self.token = token
        self._tokens.add(token)
        data = self.folder / f"..{next(self._rotations)}"
        data.mkdir()
        (data / "token").write_text(token)
        new = self.folder / "..data_tmp"
        new.symlink_to(data.name)
        new.rename(self.folder / "..data")
        link = self.folder / "token"
        if not link.is_symlink():
            link.symlink_to("..data/token")

    def is_labelled(self):
        found = self.cluster.labels(self.node)
        return all(found.get(key) == value for key, value in self.labels.items())

    def delete_labels(self, *keys):
        """All of ours, if no keys are given."""
        status, answered = self.cluster.request(
            "PATCH",
            f"/api/v1/nodes/{self.node}",
            {"metadata": {"labels": dict.fromkeys(keys or self.labels)}},
            headers={"Content-Type": "application/merge-patch+json"},
        )
        assert status == 200, answered

    def rest_of_the_node(self):
        """The Node without our labels, and without what every change of them changes."""
        node = self.cluster.node(self.node)
        metadata = node["metadata"]
        metadata["labels"] = {k: v for k, v in metadata["labels"].items() if k not in self.labels}
        del metadata["resourceVersion"], metadata["managedFields"]
        return node

    def patches(self):
        return [exchange for exchange in self.proxy.exchanges if exchange.method == "PATCH"]

    def assert_patched_labels_only(self):
        for patch in self.patches():
            metadata = json.loads(patch.body)["metadata"]
            assert set(metadata) <= {"name", "uid", "labels"}, metadata
            assert set(metadata["labels"]) <= set(self.labels), metadata

    def assert_token_is_secret(self, metrics):
        """Not even a part of it is shown."""
        shown = self.exporter.stderr + metrics
        for token in self._tokens:
            parts = {token[i : i + PART_OF_TOKEN] for i in range(0, len(token) - PART_OF_TOKEN, 8)}
            assert not [part for part in parts if part in shown]


@pytest.fixture
def bench(cluster, proxy, certificates, tmp_path, machine):
    with Bench(cluster, proxy, certificates, tmp_path, [*machine(BOARD), *board_flags(BOARD)]) as made:
        yield made


# What the exporter shows.


def failures(metrics):
    """devicetree_label_apply_failures_total by reason, without the zeroes."""
    found = re.findall(r'^devicetree_label_apply_failures_total{reason="(\w+)"} (\S+)$', metrics, re.MULTILINE)
    return {reason: float(count) for reason, count in found if float(count)}


def warnings(exporter):
    """Its WARN lines as dicts, without their time."""
    lines = [shlex.split(line) for line in exporter.stderr.splitlines()]
    assert all(line[0].startswith("time=") for line in lines), exporter.stderr
    fields = [dict(field.split("=", 1) for field in line[1:]) for line in lines]
    return [line for line in fields if line["level"] == "WARN"]


def messages(exporter):
    return [line["msg"] for line in warnings(exporter)]


class Scrapes:
    """Times of GETs, and what else was seen meanwhile."""

    def __init__(self, exporter):
        self._exporter = exporter
        self.seconds = []
        self.metrics = ""

    def take(self):
        for path in ["/metrics", "/-/ready"]:
            begin = time.monotonic()
            response = self._exporter.get(path)
            self.seconds.append(time.monotonic() - begin)
            assert response.status == 200, (path, response)
            if path == "/metrics":
                self.metrics = response.body.decode()
        status = pathlib.Path(f"/proc/{self._exporter.pid}/status").read_text()
        peak = int(re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)[1]) << 10
        assert peak < MEMORY_BYTES, f"{peak >> 20} MiB of memory"

    def take_some(self):
        for _ in range(SCRAPES_BEFORE):
            self.take()

    def take_for(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.take()
            time.sleep(PAUSE_SECONDS)

    def take_until_failed(self):
        """Until the exporter has met a fault."""
        deadline = time.monotonic() + MET_SECONDS
        while not failures(self.metrics):
            assert time.monotonic() < deadline, "the exporter meets the fault"
            self.take()
            time.sleep(PAUSE_SECONDS)

    def __str__(self):
        return f"{1e3 * statistics.median(self.seconds):.1f} ({1e3 * max(self.seconds):.1f})"


def most_attempts(seconds):
    """More attempts than these come within so many seconds of the first with less than 1e-6.

    The pause after the n-th attempt is uniform between 0 and m = 0.8, 1.6, 3.2... 30 s.
    Where n pauses fit into T they lie in a simplex of the volume T^n / n!, out of a box
    of the volume m1 m2 ... mn: the quotient is the probability, at most.
    """
    pauses, probability = 0, 1
    while probability > 1e-6:
        most = min(FIRST_BACKOFF_SECONDS * 2**pauses, MOST_BACKOFF_SECONDS)
        pauses += 1
        probability *= seconds / pauses / most
    return pauses


# The faults.


def status_of(code, reason, message, **details):
    """A Status, as the API server answers it."""
    return json.dumps(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            **({"details": details} if details else {}),
            "code": code,
        }
    )


JSON = {"Content_Type": "application/json"}
TEXT = {"Content_Type": "text/plain; charset=utf-8", "X_Content_Type_Options": "nosniff"}
HTML = {"Content_Type": "text/html"}

SERVER_ERROR = status_of(500, "InternalError", "Internal error occurred: etcdserver: leader changed")
THROTTLED = status_of(429, "TooManyRequests", "Too many requests, please try again later.", retryAfterSeconds=3)
# k8s.io/apiserver/pkg/server/filters/priority-and-fairness.go
THROTTLED_TEXT = "Too many requests, please try again later.\n"
UNAVAILABLE = status_of(503, "ServiceUnavailable", "apiserver is shutting down")
CONFLICT = status_of(
    409,
    "Conflict",
    'Operation cannot be fulfilled on nodes "node": the object has been modified; please '
    "apply your changes to the latest version and try again",
    name="node",
    kind="nodes",
)


def field_manager_conflict(bench):
    key = min(bench.labels)
    return status_of(
        409,
        "Conflict",
        f'Apply failed with 1 conflict: conflict with "kubectl-label": .metadata.labels.{key}',
        causes=[
            {
                "reason": "FieldManagerConflict",
                "message": 'conflict with "kubectl-label"',
                "field": f".metadata.labels.{key}",
            }
        ],
    )


def invalid(field, value, why):
    message = f'Invalid value: "{value}": {why}'
    cause = {"reason": "FieldValueInvalid", "message": message, "field": field}
    return status_of(
        422,
        "Invalid",
        f'Node "node" is invalid: {field}: {message}',
        name="node",
        kind="Node",
        causes=[cause, cause],  # the server says it twice
    )


def page_with_a_request_id(exchange):
    """As load balancers have it: no two pages are the same."""
    page = f"<html>\n<title>500</title>\nrequest {exchange.time:.6f}, \x1b[31m\xff\n</html>"
    exchange.answer(500, page.encode("latin-1"), {"Content-Type": "text/html"})


def page_with_the_request(exchange):
    """As debugging proxies have it: the page quotes what was sent."""
    page = f"Authorization: {exchange.headers['Authorization']}\n{exchange.headers}"
    exchange.answer(500, page.encode(), {"Content-Type": "text/plain"})


def as_another_node(exchange):
    status, headers, body = exchange.ask()
    node = json.loads(body)
    node["metadata"]["name"] += "-other"
    exchange.answer(status, json.dumps(node), headers)


@dataclasses.dataclass
class Fault:
    """What breaks; bench.proxy.mend() mends it unless off says how."""

    reason: str  # of devicetree_label_apply_failures_total
    on: typing.Callable
    off: typing.Callable = lambda bench: bench.proxy.mend()
    seconds: float = 2  # that it stands after the exporter has met it
    requests: int = 3  # of one attempt, at most: a look at the cache, a close one, a patch
    retry_after: float = 0  # seconds that the server asks for
    start: typing.Callable = lambda bench: bench.start()
    follow: tuple = ()  # reasons that the exporter may meet before all is well


def by_proxy(reason, fault, **more):
    """A FaultProxy.fault, and fields of Fault."""

    def on(bench):
        bench.proxy.fault = fault

    return Fault(reason, on, **more)


def by_greeting(reason, greet):
    def on(bench):
        bench.proxy.greet = greet

    return Fault(reason, on)


def by_certificate(name):
    def on(bench):
        bench.proxy.certificate = getattr(bench.certificates, name)

    return Fault("tls", on)


def directly(bench):
    """Starts the exporter with the API server itself."""
    bench.start(server=bench.cluster.server, ca=bench.cluster.ca_file)


def at_a_host_name(bench):
    """Starts the exporter where HOST_NAME is in its /etc/hosts."""
    hosts, resolver = bench.folder / "hosts", bench.folder / "resolv.conf"
    hosts.write_text(f"{HOST} {HOST_NAME}\n")
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    mounts = f"mount --bind {hosts} /etc/hosts && mount --bind {resolver} /etc/resolv.conf"
    under = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh"]
    bench.start(server=f"https://{HOST_NAME}:{bench.proxy.port}", under=under)


def on_conflicts(bench):
    bench.proxy.fault = only("PATCH", answer(409, field_manager_conflict(bench), **JSON))


def on_other_uid(bench):
    uid = bench.cluster.node(bench.node)["metadata"]["uid"]
    bench.proxy.fault = only("PATCH", answer(422, invalid("metadata.uid", uid, "field is immutable"), **JSON))


def on_revoked_token(bench):
    bench.rotate(revoked(bench.token))


def off_revoked_token(bench):
    bench.rotate(bench.new_token())


def on_replaced_ca(bench):
    bench.proxy.certificate = bench.certificates.of_other_ca


def off_replaced_ca(bench):
    bench.trust(bench.certificates.other_ca)


def on_lost_token(bench):
    (bench.folder / "token").rename(bench.folder / "away")


def on_spoilt_token(text, bench):
    shutil.copy(bench.folder / "token", bench.folder / "away")
    (bench.folder / "token").write_text(text)


def off_lost_token(bench):
    (bench.folder / "away").rename(bench.folder / "token")


def off_slow_answer(bench):
    bench.proxy.mend()
    bench.proxy.cut()  # the one that is under way


TRIES = 10  # requests: a Node that changes under an attempt is read and patched again, 5 times in all

OK_CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
OK_LONG = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
A_MEBIBYTE = 1 << 20

FAULTS = {
    "401-until-the-token-file-is-rotated": Fault("unauthorized", on_revoked_token, off_revoked_token),
    "404": by_proxy("not_found", answer(404, status_of(404, "NotFound", 'nodes "node" not found'), **JSON)),
    "409": by_proxy("conflict", only("PATCH", answer(409, CONFLICT, **JSON)), requests=TRIES),
    "409-field-manager-conflict": Fault("conflict", on_conflicts, requests=TRIES),
    "422-uid": Fault("conflict", on_other_uid, requests=TRIES),
    "429-retry-after-3": by_proxy(
        "throttled", answer(429, THROTTLED, Retry_After=3, **JSON), retry_after=3, seconds=6.5
    ),
    "429-retry-after-0": by_proxy("throttled", answer(429, THROTTLED, Retry_After=0, **JSON)),
    "429-retry-after-a-date": by_proxy(
        "throttled", answer(429, THROTTLED, Retry_After="Fri, 31 Dec 1999 23:59:59 GMT", **JSON)
    ),
    "429-retry-after-below-0": by_proxy("throttled", answer(429, THROTTLED, Retry_After=-5, **JSON)),
    "429-retry-after-nonsense": by_proxy("throttled", answer(429, THROTTLED, Retry_After="9 lives", **JSON)),
    "429": by_proxy("throttled", answer(429, THROTTLED, **JSON)),
    "429-plain-text": by_proxy("throttled", answer(429, THROTTLED_TEXT, **TEXT)),
    "500-for-15-s": by_proxy("server_error", answer(500, SERVER_ERROR, **JSON), seconds=15),
    "500-of-patches": by_proxy("server_error", only("PATCH", answer(500, SERVER_ERROR, **JSON))),
    "500-html-with-a-request-id": by_proxy("server_error", page_with_a_request_id),
    "500-that-quotes-the-request": by_proxy("server_error", page_with_the_request),
    "502-empty": by_proxy("server_error", answer(502)),
    "502-and-no-more": by_proxy("server_error", answer(502, Connection="close")),
    "503-retry-after-2": by_proxy(
        "server_error", answer(503, UNAVAILABLE, Retry_After=2, **JSON), retry_after=2, seconds=4.5
    ),
    "cut-in-the-body-of-a-get": by_proxy("network", only("GET", fault_proxy.cut_after(100))),
    "cut-in-the-body-of-a-patch": by_proxy("network", only("PATCH", fault_proxy.cut_after(100))),
    "cut-before-the-answer": by_proxy("network", fault_proxy.cut_before_the_answer()),
    "reset-before-the-answer-to-a-patch": by_proxy(
        "network", only("PATCH", fault_proxy.cut_before_the_answer(reset=True))
    ),
    "no-http": by_proxy("server_error", raw(b"\x00\xffSSH-2.0-OpenSSH_9.2\r\n\r\n" * 10)),
    "200-garbage": by_proxy("server_error", answer(200, '{"kind": "Node", "metadata": {', **JSON)),
    "200-nested-a-million-times": by_proxy("server_error", raw(OK_LONG % A_MEBIBYTE, b"[" * A_MEBIBYTE)),
    "200-of-another-node": by_proxy("server_error", as_another_node),
    "endless-body": by_proxy("server_error", endless(OK_CHUNKED, chunk(b"x" * 0x10000))),
    "endless-header": by_proxy("server_error", endless(b"HTTP/1.1 200 OK\r\n", b"X-Header: " + b"x" * 1000 + b"\r\n")),
    "one-byte-a-second": by_proxy(
        "timeout",
        endless(OK_LONG % A_MEBIBYTE, b" ", seconds=1),
        off=off_slow_answer,
        seconds=0.5,
        follow=("network",),
    ),
    "frozen-for-30-s": Fault(
        "timeout",
        on=lambda bench: bench.cluster.freeze(),
        off=lambda bench: bench.cluster.thaw(),
        seconds=15,
        start=directly,
    ),
    "wrong-ca": by_certificate("of_other_ca"),
    "wrong-ca-until-the-ca-file-is-replaced": Fault("tls", on_replaced_ca, off_replaced_ca),
    "wrong-host-name": by_certificate("of_other_host"),
    "expired-certificate": by_certificate("expired"),
    "not-yet-valid-certificate": by_certificate("not_yet_valid"),
    "plain-http": by_greeting("tls", fault_proxy.speak_plain_http),
    "no-such-host": Fault(
        "dns",
        on=lambda bench: (bench.folder / "hosts").write_text(""),
        off=lambda bench: (bench.folder / "hosts").write_text(f"{HOST} {HOST_NAME}\n"),
        start=at_a_host_name,
    ),
    "connection-refused": Fault("network", on=lambda bench: bench.proxy.refuse()),
    "api-server-restarted": Fault(
        "network",
        on=lambda bench: bench.cluster.stop_api_server(),
        off=lambda bench: bench.cluster.start_api_server(),
        start=directly,
        # What a server answers that has just started, and knows no roles yet.
        follow=("forbidden", "server_error", "throttled", "unauthorized"),
    ),
    "token-file-lost": Fault("credentials", on_lost_token, off_lost_token),
    "token-file-emptied": Fault("credentials", functools.partial(on_spoilt_token, ""), off_lost_token),
    "token-file-of-two-words": Fault("credentials", functools.partial(on_spoilt_token, "two words"), off_lost_token),
}


def endure(bench, fault, name):
    """Has the exporter live through the fault, and asserts what holds for each of them."""
    fault.start(bench)
    exporter, proxy = bench.exporter, bench.proxy
    before, during = Scrapes(exporter), Scrapes(exporter)
    before.take_some()
    assert not failures(before.metrics)
    rest_before = bench.rest_of_the_node()

    connections, exchanges = len(proxy.connections), len(proxy.exchanges)
    if fault.start is directly:
        bench.delete_labels()  # while that can be done
    try:
        fault.on(bench)
        if fault.start is not directly:
            bench.delete_labels()
        during.take_until_failed()
        met = time.monotonic()
        during.take_for(fault.seconds)
        failed = failures(during.metrics)
        requests = proxy.exchanges[exchanges:]
        connected = len(proxy.connections) - connections
        seconds = time.monotonic() - met
    finally:
        fault.off(bench)
    mended = time.monotonic()
    wait_until(bench.is_labelled, "the labels are back", CONVERGE_SECONDS)
    wait_until(lambda: CAN_SET in exporter.stderr, "the log says that it is mended", CONVERGE_SECONDS)
    converged = time.monotonic() - mended
    counts = f"{sum(failed.values()):g} | {len(requests)} | {connected}"
    print(f"| {name} | {counts} | {converged:.1f} | {before} | {during} |")

    assert max(during.seconds) < SCRAPE_SECONDS
    assert statistics.median(during.seconds) < 5 * statistics.median(before.seconds) + 0.02
    assert set(failed) == {fault.reason}
    most = 1 + seconds / fault.retry_after if fault.retry_after else most_attempts(seconds)
    assert failed[fault.reason] <= most
    assert max(len(requests), connected) <= most * fault.requests
    if fault.retry_after:
        gaps = [later.time - earlier.time for earlier, later in itertools.pairwise(requests) if earlier.status >= 400]
        assert gaps and min(gaps) >= fault.retry_after
    assert bench.rest_of_the_node() == rest_before
    bench.assert_patched_labels_only()
    assert_said_once(exporter, fault.reason, *fault.follow)
    assert exporter.stderr.count(CAN_SET) == 1
    bench.assert_token_is_secret(exporter.metrics())
    exporter.stop()


def assert_said_once(exporter, reason, *others):
    """One line about the fault; others are reasons that may follow, each in one line as well."""
    said = [line["reason"] for line in warnings(exporter) if line["msg"] == CANNOT_SET]
    assert said[:1] == [reason]
    assert set(said[1:]) <= set(others) and len(said) == len(set(said))
    lines = [str(line) for line in warnings(exporter)]
    assert len(lines) == len(set(lines))


NAMESPACES = ["unshare", "--user", "--map-root-user", "--mount", "true"]
needs_namespaces = pytest.mark.skipif(
    subprocess.run(NAMESPACES, check=False).returncode != 0, reason="no user namespaces here"
)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        pytest.param(name, fault, id=name, marks=[needs_namespaces] if fault.start is at_a_host_name else [])
        for name, fault in FAULTS.items()
    ],
)
def test_a_fault_harms_nothing_and_mends_itself(bench, name, fault):
    endure(bench, fault, name)


def test_a_redirect_is_not_followed(bench, cluster, certificates):
    with FaultProxy(cluster, certificates.good) as elsewhere:
        location = f"https://{HOST}:{elsewhere.port}/api/v1/nodes/{bench.node}"
        endure(bench, by_proxy("server_error", answer(307, Location=location)), "307")
        assert not elsewhere.connections


def test_a_proxy_of_the_environment_is_not_used(bench, cluster, certificates, monkeypatch):
    with FaultProxy(cluster, certificates.good) as elsewhere:
        for name in ["http_proxy", "https_proxy", "all_proxy"]:
            for variable in [name, name.upper()]:
                monkeypatch.setenv(variable, f"http://{HOST}:{elsewhere.port}")
        bench.start()
        assert bench.proxy.exchanges and not elsewhere.connections


def test_a_token_that_was_rotated_under_a_request_costs_one_request_more(bench):
    bench.start()
    fresh = bench.new_token()

    def rotated(exchange):
        bench.rotate(fresh)
        answer(401, status_of(401, "Unauthorized", "Unauthorized"), **JSON)(exchange)

    count = len(bench.proxy.exchanges)
    bench.proxy.fault = fault_proxy.times(1, rotated)
    wait_until(lambda: len(bench.proxy.exchanges) > count + 1, "two requests")
    refused, retried, *_ = bench.proxy.exchanges[count:]
    assert (refused.status, refused.target) == (401, retried.target)
    assert retried.headers["Authorization"] == f"Bearer {fresh}"
    assert retried.time - refused.time < 0.5
    bench.delete_labels(min(bench.labels))
    wait_until(bench.is_labelled, "the label is back")
    assert not failures(bench.exporter.metrics())
    assert not warnings(bench.exporter)


def test_a_label_that_the_server_calls_invalid_is_left_out_and_the_others_are_applied(bench):
    bench.start()
    key = min(bench.labels)
    body = invalid("metadata.labels", key, "name part must consist of alphanumeric characters")

    def refuse_the_key(exchange):
        if f'"{key}"' in exchange.body.decode():
            answer(422, body, **JSON)(exchange)
        else:
            exchange.forward()

    bench.proxy.fault = refuse_the_key
    count = len(bench.patches())
    bench.delete_labels()
    others = {k: v for k, v in bench.labels.items() if k != key}
    wait_until(lambda: others.items() <= bench.cluster.labels(bench.node).items(), "the other labels")
    time.sleep(3)  # three more looks at the Node
    assert key not in bench.cluster.labels(bench.node)
    assert len(bench.patches()) == count + 2, "with it, and without it"
    metrics = bench.exporter.metrics()
    assert failures(metrics) == {"invalid": 1}
    assert f'devicetree_node_label_applied{{key="{key}"}} 0' in metrics
    said, = warnings(bench.exporter)
    assert key in str(said)
    bench.assert_patched_labels_only()


# What an administrator has to mend.


def answer_to_a_dry_run(bench):
    """The status that a change of a label with the exporter's token would get."""
    return bench.cluster.request(
        "PATCH",
        f"/api/v1/nodes/{bench.node}?dryRun=All",
        {"metadata": {"labels": {f"{PREFIX}dry-run": "1"}}},
        token=bench.token,
        headers={"Content-Type": "application/merge-patch+json"},
    )[0]


@contextlib.contextmanager
def without_the_right(bench):
    bench.cluster.kubectl("delete", "clusterrolebinding", "labels")
    try:
        wait_until(lambda: answer_to_a_dry_run(bench) == 403, "the right is gone")
        yield 'cannot get resource "nodes"'
    finally:
        bench.cluster.apply(ACCESS)
        wait_until(lambda: answer_to_a_dry_run(bench) == 200, "the right is back")


@contextlib.contextmanager
def denied_by_a_policy(bench):
    name = "no-labels-today"
    bench.cluster.apply(f"""
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {name}}}
spec:
  matchConstraints:
    resourceRules:
    - {{apiGroups: [""], apiVersions: [v1], operations: [UPDATE], resources: [nodes]}}
  matchConditions:
  - {{name: exporter, expression: "request.userInfo.username.endsWith(':{NAME}')"}}
  validations:
  - {{expression: "false"}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {name}}}
spec: {{policyName: {name}, validationActions: [Deny]}}
""")
    try:
        wait_until(lambda: answer_to_a_dry_run(bench) == 422, "the policy is at work")
        yield name
    finally:
        bench.cluster.kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name)
        wait_until(lambda: answer_to_a_dry_run(bench) == 200, "the policy is gone")


@pytest.mark.parametrize(
    ("broken", "reason"),
    [pytest.param(without_the_right, "forbidden", id="403"), pytest.param(denied_by_a_policy, "invalid", id="422")],
)
def test_what_an_administrator_has_to_mend_is_tried_every_5_minutes(bench, broken, reason):
    bench.start()
    exporter, exchanges = bench.exporter, bench.proxy.exchanges
    before, during = Scrapes(exporter), Scrapes(exporter)
    before.take_some()
    rest_before = bench.rest_of_the_node()
    with broken(bench) as named:
        bench.delete_labels()
        wait_until(lambda: failures(exporter.metrics()), "the exporter meets the fault")
        count = len(exchanges)
        during.take_for(5)
        print(f"| {broken.__name__} | {count} requests before, {len(exchanges)} after | {before} | {during} |")
        assert len(exchanges) == count, "not one request more"
        assert failures(during.metrics) == {reason: 1}
        assert max(during.seconds) < SCRAPE_SECONDS
        said, = warnings(exporter)
        assert said["msg"] == CANNOT_SET and named in said["error"], "what is missing"
        assert 240 <= int(said["retry_seconds"]) <= 360
        assert bench.rest_of_the_node() == rest_before
        bench.assert_token_is_secret(during.metrics)
        exporter.stop()
    # Convergence after 5 minutes is too long for a test; a restart is the administrator's short cut.
    bench.start()
    bench.assert_patched_labels_only()


def test_a_403_from_a_server_that_has_just_started_does_not_cost_5_minutes(bench):
    """kube-apiserver answers 403 for up to a second after a start, until it knows its roles."""
    bench.start()
    bench.proxy.refuse()
    bench.delete_labels()
    wait_until(lambda: failures(bench.exporter.metrics()), "the exporter meets the fault")
    message = (
        f'nodes "{bench.node}" is forbidden: User "{NAME}" cannot get resource "nodes" in API group "" at the '
        'cluster scope: RBAC: clusterrole.rbac.authorization.k8s.io "labels" not found'
    )
    bench.proxy.mend()
    bench.proxy.fault = fault_proxy.times(1, answer(403, status_of(403, "Forbidden", message), **JSON))
    wait_until(lambda: "forbidden" in failures(bench.exporter.metrics()), "the 403", CONVERGE_SECONDS)
    wait_until(bench.is_labelled, "the labels are back", CONVERGE_SECONDS)


# With --kubernetes.watch.


def test_a_403_from_a_server_that_has_just_started_costs_no_5_minutes_where_it_is_watched(bench):
    """Though nothing else went wrong before it: it was restarted between two looks."""
    bench.rotate(bench.new_token(WATCHER))
    bench.start("--kubernetes.watch", resync="1h")
    wait_until(lambda: watches(bench), "a watch")

    def starting(exchange):
        refusal = answer(403, status_of(403, "Forbidden", "RBAC: not yet"), **JSON)
        (answer(500, SERVER_ERROR, **JSON) if WATCH in exchange.target else refusal)(exchange)

    bench.proxy.fault = starting
    bench.delete_labels()  # the watch that is open tells of it
    wait_until(lambda: "forbidden" in failures(bench.exporter.metrics()), "the 403", CONVERGE_SECONDS)
    bench.proxy.cut()
    wait_until(lambda: CANNOT_WATCH in messages(bench.exporter), "the watch fails", CONVERGE_SECONDS)
    bench.proxy.mend()
    wait_until(bench.is_labelled, "the labels are back", CONVERGE_SECONDS)


WATCH = "watch=true"
REPAIR_SECONDS = 1
POLL_SECONDS = 3  # --kubernetes.resync-interval=1s, give or take a fifth, and a busy machine


def stream(*lines):
    """A watch's answer with these lines, after which it stands open."""

    def fault(exchange):
        exchange.send(OK_CHUNKED + b"".join(chunk(line + b"\n") for line in lines))
        exchange.wait()

    return fault


def expired(exchange):
    """As the server says it: with numbers that are others each time."""
    number = int(exchange.time * 1000)
    status = status_of(410, "Expired", f"too old resource version: {number} ({number + 1000})")
    stream(json.dumps({"type": "ERROR", "object": json.loads(status)}).encode())(exchange)


def cut_after_the_first_event(exchange):
    node = {"metadata": {"name": "n", "uid": "u", "resourceVersion": "1"}}
    event = json.dumps({"type": "BOOKMARK", "object": node}).encode() + b"\n"
    raw(OK_CHUNKED, chunk(event))(exchange)


# Why the log says that the watch fails, and the fault. None: that cannot be noticed.
WATCH_FAULTS = {
    "cut": ("network", fault_proxy.cut_before_the_answer()),
    "cut-after-the-first-event": (None, cut_after_the_first_event),
    "ends-at-once": ("server_error", raw(OK_CHUNKED, chunk(b""))),
    "error-410": ("server_error", expired),
    "garbage": ("server_error", stream(b"garbage", b"{}")),
    "line-without-end": ("server_error", endless(OK_CHUNKED, chunk(b"x" * 0x10000))),
    "silent": (None, stream()),
    "429": ("throttled", answer(429, THROTTLED, **JSON)),
    "500": ("server_error", answer(500, SERVER_ERROR, **JSON)),
}
WATCHED_SECONDS = 3


def watches(bench):
    return [exchange for exchange in bench.proxy.exchanges if WATCH in exchange.target]


@pytest.mark.parametrize(("reason", "fault"), WATCH_FAULTS.values(), ids=WATCH_FAULTS)
def test_where_the_watch_fails_the_poll_repairs(bench, reason, fault):
    bench.rotate(bench.new_token(WATCHER))
    bench.proxy.fault = only(WATCH, fault)
    bench.start("--kubernetes.watch")
    wait_until(lambda: watches(bench), "a watch")
    during = Scrapes(bench.exporter)
    bench.delete_labels()
    wait_until(bench.is_labelled, "the poll repairs", POLL_SECONDS)
    during.take_for(WATCHED_SECONDS - (time.monotonic() - watches(bench)[0].time))
    print(f"| {len(watches(bench))} watches in {WATCHED_SECONDS} s | {during} |")
    assert not failures(during.metrics)
    assert max(during.seconds) < SCRAPE_SECONDS
    if reason:
        assert len(watches(bench)) <= most_attempts(WATCHED_SECONDS)
        wait_until(lambda: warnings(bench.exporter), "the log says so")
        said, = warnings(bench.exporter)
        assert (said["msg"], said["reason"]) == (CANNOT_WATCH, reason)
        assert said["error"]
    else:
        assert len(watches(bench)) <= 1 + WATCHED_SECONDS / 0.8, "a pause of 1 s, less a fifth"
        assert not warnings(bench.exporter)
    bench.assert_patched_labels_only()
    bench.assert_token_is_secret(during.metrics)


def test_a_watch_that_is_cut_again_and_again_is_asked_for_less_and_less(bench):
    """Though each begins well: as a load balancer makes it that ends connections early."""
    seconds = 20
    bench.rotate(bench.new_token(WATCHER))
    bench.proxy.fault = only(WATCH, cut_after_the_first_event)
    bench.start("--kubernetes.watch")
    wait_until(lambda: watches(bench), "a watch")
    time.sleep(seconds)
    count = len(watches(bench))
    print(f"| {count} watches in {seconds} s |")
    assert count <= most_attempts(seconds) < seconds / 1.2, "fewer than one a second, give or take a fifth"
    assert not warnings(bench.exporter), "it works, as far as can be told"


@pytest.mark.parametrize("name", ["cut", "error-410", "garbage", "silent"])
def test_the_watch_repairs_within_a_second_once_it_is_back(bench, name):
    _, fault = WATCH_FAULTS[name]
    bench.rotate(bench.new_token(WATCHER))
    bench.start("--kubernetes.watch", resync="1h")
    wait_until(lambda: watches(bench), "a watch")
    bench.proxy.fault = only(WATCH, fault)
    bench.proxy.cut()
    wait_until(lambda: watches(bench)[1:], "a watch that fails")
    first, second, *_ = bench.labels
    bench.delete_labels(first)
    time.sleep(1)
    assert not bench.is_labelled(), "nobody looks"
    bench.proxy.mend()
    mended = time.monotonic()
    bench.proxy.cut()
    back = lambda: [watch.time for watch in watches(bench) if watch.time > mended]
    wait_until(back, "a new watch", CONVERGE_SECONDS)
    wait_until(bench.is_labelled, "the label is back")
    repaired = time.monotonic() - back()[0]
    bench.delete_labels(second)
    deleted = time.monotonic()
    wait_until(bench.is_labelled, "the other label is back")
    print(f"| back after {back()[0] - mended:.1f} s | repaired {repaired:.2f} s | {time.monotonic() - deleted:.2f} s |")
    assert repaired < REPAIR_SECONDS
    assert time.monotonic() - deleted < REPAIR_SECONDS


def test_the_log_says_when_the_watch_is_back(bench):
    bench.rotate(bench.new_token(WATCHER))
    bench.proxy.fault = only(WATCH, answer(500, SERVER_ERROR, **JSON))
    bench.start("--kubernetes.watch")
    wait_until(lambda: CANNOT_WATCH in messages(bench.exporter), "the log says that it fails")
    bench.proxy.mend()
    wait_until(lambda: CAN_WATCH in bench.exporter.stderr, "the log says that it is back", CONVERGE_SECONDS)


def test_retry_after_holds_for_the_watch_too(bench):
    bench.rotate(bench.new_token(WATCHER))
    bench.proxy.fault = only(WATCH, answer(429, THROTTLED, Retry_After=3, **JSON))
    bench.start("--kubernetes.watch")
    first, second, *_ = wait_until(lambda: watches(bench)[1:] and watches(bench), "two watches")
    assert second.time - first.time >= 3


def test_without_the_right_to_watch_the_log_says_so_once_and_the_poll_goes_on(bench):
    bench.start("--kubernetes.watch")
    wait_until(lambda: warnings(bench.exporter), "the log says so")
    bench.delete_labels()
    wait_until(bench.is_labelled, "the poll repairs", POLL_SECONDS)
    time.sleep(3)
    assert len(watches(bench)) == 1
    said, = warnings(bench.exporter)
    assert said["msg"] == CANNOT_WATCH and 'cannot watch resource "nodes"' in said["error"]
    assert not failures(bench.exporter.metrics())


def test_retry_after_holds_whatever_the_watch_shows(bench):
    bench.rotate(bench.new_token(WATCHER))
    bench.start("--kubernetes.watch", resync="1h")
    wait_until(lambda: watches(bench), "a watch")
    count = len(bench.proxy.exchanges)
    bench.proxy.fault = only("PATCH", answer(429, THROTTLED, Retry_After=3, **JSON))
    bench.delete_labels()
    end = time.monotonic() + 5
    while time.monotonic() < end:
        bench.cluster.kubectl("annotate", "--overwrite", "node", bench.node, f"example.com/time={time.time()}")
    requests = bench.proxy.exchanges[count:]
    patches = [exchange for exchange in requests if exchange.method == "PATCH"]
    assert len(patches) >= 2
    for refused, later in itertools.pairwise(patches):
        assert later.time - refused.time >= 3
        between = [exchange for exchange in requests if refused.time < exchange.time < refused.time + 3]
        assert not between


# Whatever it waits for, it ends within a second of SIGTERM.


def waits_for_a_name(bench):
    at_a_host_name(bench)
    (bench.folder / "resolv.conf").write_text("nameserver 192.0.2.1\noptions timeout:30\n")  # RFC 5737: nobody's
    (bench.folder / "hosts").write_text("")
    time.sleep(2)  # also where the first question is refused at once, and asked again


def waits_for_a_greeting(bench):
    bench.start()
    bench.proxy.greet = fault_proxy.say_nothing
    count = len(bench.proxy.connections)
    wait_until(lambda: len(bench.proxy.connections) > count, "a connection")


def waits_for_an_answer(bench, fault=None):
    bench.start()
    count = len(bench.proxy.exchanges)
    bench.proxy.fault = fault or fault_proxy.silence()
    wait_until(lambda: len(bench.proxy.exchanges) > count, "a request")


def waits_for_the_rest(bench):
    waits_for_an_answer(bench, endless(OK_LONG % A_MEBIBYTE, b" ", seconds=1))


def waits_as_it_was_told(bench):
    waits_for_an_answer(bench, answer(429, THROTTLED, Retry_After=3600, **JSON))


@pytest.mark.parametrize(
    "waits",
    [
        pytest.param(waits_for_a_name, marks=needs_namespaces),
        waits_for_a_greeting,
        waits_for_an_answer,
        waits_for_the_rest,
        waits_as_it_was_told,
    ],
)
def test_sigterm_ends_it_within_a_second(bench, waits):
    waits(bench)
    time.sleep(0.2)
    said = warnings(bench.exporter)
    bench.exporter.stop()
    assert warnings(bench.exporter) == said, "to be stopped is no fault"
    assert bench.is_labelled(), "the labels stay"
