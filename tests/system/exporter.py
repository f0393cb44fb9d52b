"""Runs the built devicetree-exporter as its users do, and talks HTTP to it.

The binary is the one that $DTE_BINARY names. Nothing here reads this machine's
own /sys: where a test gives no --path.sysfs, an empty directory stands in.
"""

import collections
import contextlib
import http.client
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

START_SECONDS = 10  # generous: a shared CI machine, perhaps under valgrind
STOP_SECONDS = 1  # the promise: SIGTERM ends it within a second
LISTENING = re.compile(r'Listening"?[ ,]"?address"?[=:]"?(\S+):(\d+)"?\}?\s*$')  # logfmt or JSON

Response = collections.namedtuple("Response", "status headers body")


def binary():
    path = os.environ.get("DTE_BINARY")
    if not path:
        raise RuntimeError("DTE_BINARY is not set: the path of the built devicetree-exporter")
    return str(pathlib.Path(path).resolve(strict=True))


def wait_until(condition, what, seconds=START_SECONDS):
    """Asks until condition() gives something true, and returns that."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)
    return value


def run(*args, seconds=START_SECONDS, under=()):
    """Runs the binary to its end, under as for Exporter. The result has returncode, stdout and stderr."""
    with tempfile.TemporaryDirectory() as empty:
        return subprocess.run(
            [*under, binary(), *_with_sysfs(args, empty)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )


def request(host, port, method, path, headers=None, seconds=START_SECONDS, tls=None):
    """One request with exactly these headers (http.client would add Accept-Encoding).

    tls: the ssl.SSLContext to speak HTTPS with.
    """
    if tls is None:
        connection = http.client.HTTPConnection(host, port, timeout=seconds)
    else:
        connection = http.client.HTTPSConnection(host, port, timeout=seconds, context=tls)
    with contextlib.closing(connection):
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return Response(response.status, response.headers, response.read())


def without_live_lines(body):
    """The body less process_*, the lines that differ from one scrape to the next."""
    live = re.compile(rb"(# (HELP|TYPE) )?process_")
    return b"".join(line for line in body.splitlines(True) if not live.match(line))


class Exporter:
    """A running exporter; a context manager. On exit it is stopped, or killed.

    args are its flags. listen are its --web.listen-address values; port 0 asks
    the kernel for a free one, which is read from the log.
    """

    def __init__(self, *args, listen=("127.0.0.1:0",), under=(), tls=None, headers=None):
        """under: a program and its arguments that starts ours, such as unshare.

        tls, headers: what each request is made with, as request() takes them.
        """
        self._under = list(under)
        self._tls = tls
        self._headers = headers or {}
        self._args = list(args)
        self._listen = list(listen)
        self._lines = {"stdout": [], "stderr": []}
        self._changed = threading.Condition()
        self.process = None
        self.host = None
        self.port = None

    def __enter__(self):
        self._empty = tempfile.TemporaryDirectory()
        flags = [f"--web.listen-address={address}" for address in self._listen]
        self.process = subprocess.Popen(
            [*self._under, binary(), *_with_sysfs(self._args, self._empty.name), *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
        )
        self._readers = [
            threading.Thread(target=self._read, args=(name,), daemon=True)
            for name in self._lines
        ]
        for reader in self._readers:
            reader.start()
        try:
            self.host, self.port = self._wait_for_address()
            wait_until(lambda: self.get("/-/ready").status == 200, "/-/ready answers 200")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self._wait()
        self._empty.cleanup()

    @property
    def pid(self):
        return self.process.pid

    @property
    def url(self):
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    @property
    def stdout(self):
        with self._changed:
            return "".join(self._lines["stdout"])

    @property
    def stderr(self):
        with self._changed:
            return "".join(self._lines["stderr"])

    @property
    def addresses(self):
        """(host, port) of each Listening line so far; a wildcard is loopback."""
        loopback = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
        found = [match for line in self.stderr.splitlines() if (match := LISTENING.search(line))]
        hosts = [match[1].strip("[]") for match in found]
        return [(loopback.get(host, host), int(match[2])) for host, match in zip(hosts, found)]

    def request(self, method, path, headers=None, host=None):
        headers = {**self._headers, **(headers or {})}
        return request(host or self.host, self.port, method, path, headers, tls=self._tls)

    def get(self, path, headers=None, host=None):
        return self.request("GET", path, headers, host)

    def metrics(self):
        """The body of /metrics as text."""
        response = self.get("/metrics")
        assert response.status == 200, response
        return response.body.decode("utf-8")

    def connect(self):
        return socket.create_connection((self.host, self.port), timeout=START_SECONDS)

    def raw(self, data):
        """Sends these bytes and returns all that comes until the server closes."""
        with self.connect() as peer:
            peer.sendall(data)
            return b"".join(iter(lambda: peer.recv(65536), b""))

    def send_signal(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        """Asks it to end; it must do so within STOP_SECONDS and with exit code 0."""
        begin = time.monotonic()
        self.send_signal(number)
        try:
            code = self.process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"runs on {STOP_SECONDS} s after signal {number}") from None
        elapsed = time.monotonic() - begin
        self._wait()
        assert code == 0, f"exit code {code}; stderr: {self.stderr}"
        return elapsed

    def _read(self, name):
        for line in getattr(self.process, name):
            with self._changed:
                self._lines[name].append(line)
                self._changed.notify_all()
        with self._changed:
            self._lines[name].append("")  # the end
            self._changed.notify_all()

    def _wait_for_address(self):
        ended = lambda: "" in self._lines["stderr"]
        with self._changed:
            self._changed.wait_for(lambda: self.addresses or ended(), timeout=START_SECONDS)
        assert self.addresses, f"no Listening line; stderr: {self.stderr!r}"
        return self.addresses[0]

    def _wait(self):
        self.process.wait()
        for reader in self._readers:
            reader.join()
        self.process.stdout.close()
        self.process.stderr.close()


def _with_sysfs(args, empty):
    if any(arg.startswith(("--path.sysfs", "--path.snapshot")) for arg in args):
        return list(args)
    return [f"--path.sysfs={empty}", *args]
