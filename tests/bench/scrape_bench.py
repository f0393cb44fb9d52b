#!/usr/bin/env python3
"""What a scrape costs: devicetree-exporter beside node_exporter, on this machine.

node_exporter is the peer that operators know: once with its collectors of
static facts alone (dmi, pcidevice, os, uname), which reads the same sysfs as
ours, once at its defaults, which needs more of a sysfs than a board's fixture
has and reads this machine's. Blocks of scrapes of the two alternate, so that a noisy machine
disturbs both alike. README.md beside this
file says what the rows mean. Speed fails nothing: exit code 0 unless a program
does not run or answers wrongly.
"""

import argparse
import contextlib
import gzip
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time

PEERS = {  # node_exporter's flags
    "static": [
        "--collector.disable-defaults",
        *(f"--collector.{name}" for name in ("dmi", "pcidevice", "os", "uname")),
    ],
    "defaults": [],
}
ALWAYS = [
    "--log.level=error",
    "--web.max-requests=0",  # it refuses the 41st scraper otherwise
]
BLOCK = 20  # scrapes of one program before it is the other's turn
STARTS = 11
START_SECONDS = 10
WAYS = {  # to scrape
    "plain, new connection": {"gzipped": False, "keep_alive": False},
    "gzip, new connection": {"gzipped": True, "keep_alive": False},
    "plain, keep-alive": {"gzipped": False, "keep_alive": True},
    "gzip, keep-alive": {"gzipped": True, "keep_alive": True},
}
SETTLE_SECONDS = 45  # until the timers of the last connections have run out: idle is without them
CLIENTS = 50
LOAD_SECONDS = 5


class Server:
    """One of the two programs, running on a port of its own."""

    def __init__(self, name, command):
        self.name = name
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._command = [*command, f"--web.listen-address=127.0.0.1:{self.port}"]

    def __enter__(self):
        """Starts it and waits for the first scrape that succeeds; see first_scrape."""
        begin = time.perf_counter()
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        while True:
            with contextlib.suppress(ConnectionError):
                with contextlib.closing(Client(self, gzipped=False, keep_alive=False)) as client:
                    client.scrape()
                break
            if self._process.poll() is not None or time.perf_counter() - begin > START_SECONDS:
                self._process.kill()
                sys.exit(f"{self.name} does not start: {self._process.stderr.read().decode()}")
        self.first_scrape = time.perf_counter() - begin
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.communicate()

    def cpu_seconds(self):
        """CPU time of the whole process, ended threads too, to the nanosecond.

        As clock_getcpuclockid(3) makes the clock's number from the process id.
        """
        return time.clock_gettime((~self._process.pid << 3) | 2)

    def wake_ups(self):
        """How often its threads have gone to sleep."""
        tasks = pathlib.Path(f"/proc/{self._process.pid}/task").glob("*/status")
        found = (re.search(r"^voluntary_ctxt_switches:\s+(\d+)$", task.read_text(), re.MULTILINE)
                 for task in tasks)
        return sum(int(match[1]) for match in found)

    def memory(self, field):
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024


class Client:
    """A scraper. Keeps its connection if it may and the server does."""

    def __init__(self, server, gzipped, keep_alive):
        self._server = server
        self._keep_alive = keep_alive
        self._request = (
            "GET /metrics HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{server.port}\r\n"
            "User-Agent: scrape_bench\r\n"
            "Accept: text/plain;version=0.0.4;q=0.3,*/*;q=0.2\r\n"
            + ("Accept-Encoding: gzip\r\n" if gzipped else "")
            + ("" if keep_alive else "Connection: close\r\n")
            + "\r\n"
        ).encode()
        self._connection = None

    def scrape(self):
        """The body as it came over the wire."""
        if self._connection is None:
            self._connection = socket.create_connection(("127.0.0.1", self._server.port), 10)
        try:
            head, body = self._exchange()
        except BaseException:
            self.close()
            raise
        if not head.startswith(b"http/1.1 200 "):
            sys.exit(f"{self._server.name}: {head.decode(errors='replace')}")
        if not self._keep_alive or b"connection: close" in head:
            self.close()
        return body

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self):
        self._connection.sendall(self._request)
        data = bytearray()
        while (end := data.find(b"\r\n\r\n")) < 0:
            self._receive(data)
        head = bytes(data[:end]).lower()
        del data[: end + 4]
        if length := re.search(rb"\r\ncontent-length: *(\d+)", head):
            while len(data) < int(length[1]):
                self._receive(data)
            return head, bytes(data)
        while not data.endswith(b"0\r\n\r\n"):
            self._receive(data)
        return head, unchunked(data)

    def _receive(self, data):
        more = self._connection.recv(1 << 18)
        if not more:
            raise ConnectionResetError("closed in the middle of an answer")
        data += more


def unchunked(data):
    body = bytearray()
    while data:
        size, _, data = data.partition(b"\r\n")
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    return bytes(body)


def cpu_per_scrape(servers, scrapes, gzipped, keep_alive):
    """Seconds of each server's CPU for one scrape, and the first's share of the second's.

    All three are medians: of the blocks, and of the pairs of blocks side by side.
    """
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(contextlib.closing(Client(server, gzipped, keep_alive)))
            for server in servers
        ]
        pairs = []
        for _ in range(scrapes // BLOCK):
            means = []
            for server, client in zip(servers, clients):
                begin = server.cpu_seconds()
                for _ in range(BLOCK):
                    client.scrape()
                means.append((server.cpu_seconds() - begin) / BLOCK)
            pairs.append(means)
    ours, theirs = (statistics.median(means) for means in zip(*pairs))
    return ours, theirs, statistics.median(a / b for a, b in pairs)


def first_scrapes(commands):
    """Seconds from the start of the process to its first whole answer: the median."""
    taken = {name: [] for name in commands}
    for _ in range(STARTS):
        for name, command in commands.items():
            with Server(name, command) as server:
                taken[name].append(server.first_scrape)
    return [statistics.median(times) for times in taken.values()]


def p99_under_load(servers, gzipped, keep_alive):
    """Seconds of the 99th percentile while wrk's clients scrape without pause."""
    results = []
    for server in servers:
        command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{LOAD_SECONDS}s", "--latency"]
        command += ["-H", "Accept-Encoding: gzip"] if gzipped else []
        command += [] if keep_alive else ["-H", "Connection: close"]
        command += [f"http://127.0.0.1:{server.port}/metrics"]
        report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        value, unit = re.search(r"^ +99% +([\d.]+)(us|ms|s|m) *$", report, re.MULTILINE).groups()
        if "Non-2xx" in report:
            sys.exit(f"{server.name} refused requests:\n{report}")
        results.append(float(value) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[unit])
    return results


def series(server):
    with contextlib.closing(Client(server, gzipped=False, keep_alive=False)) as client:
        plain = client.scrape()
    with contextlib.closing(Client(server, gzipped=True, keep_alive=False)) as client:
        gzip.decompress(client.scrape())
    return sum(1 for line in plain.splitlines() if line and not line.startswith(b"#"))


UNITS = {  # how a row's figures are written
    "": (1, "{:.0f}"),
    "ms": (1e3, "{:.3f} ms"),
    "MB": (1e-6, "{:.1f} MB"),
}


def row(what, unit, ours, theirs, share=None, goal=""):
    """share is ours / theirs, where it was measured otherwise than by dividing the two."""
    factor, form = UNITS[unit]
    share = share or ours / theirs
    ratio = f"1/{1 / share:.1f}" if unit else ""
    line = f"{what:<34}{form.format(ours * factor):>20}{form.format(theirs * factor):>16}"
    print(f"{line}{ratio:>10}  {goal}".rstrip(), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("binary", help="the release build of devicetree-exporter")
    parser.add_argument("node_exporter", help="as tests/peers/build makes it")
    parser.add_argument("sysfs", help="the sysfs of a board")
    parser.add_argument("--peer", choices=PEERS, action="append", help="default: both")
    parser.add_argument("--idle-seconds", type=int, default=20)
    parser.add_argument("--scrapes", type=int, default=2000, help="of each, for each CPU figure")
    options = parser.parse_args()

    for peer in options.peer or PEERS:
        compare(options, peer)


def compare(options, peer):
    commands = {
        "devicetree-exporter": [
            os.path.abspath(options.binary), f"--path.sysfs={options.sysfs}",
        ],
        "node_exporter": [
            os.path.abspath(options.node_exporter), *ALWAYS, *PEERS[peer],
            *([f"--path.sysfs={options.sysfs}"] if peer == "static" else []),
        ],
    }
    with contextlib.ExitStack() as stack:
        print(f"{'':<34}{'devicetree-exporter':>20}{'node_exporter':>16}{'ratio':>10}  goal"
              f"    (node_exporter: {peer})")
        first = first_scrapes(commands)
        servers = [stack.enter_context(Server(*item)) for item in commands.items()]
        row("series", "", *map(series, servers))
        row("time to first scrape", "ms", *first, goal="1/2 or less")
        for what, way in WAYS.items():
            figures = cpu_per_scrape(servers, options.scrapes, **way)
            row(f"CPU/scrape, {what}", "ms", *figures, goal="1/50 or less")
        rss = [server.memory("VmRSS") for server in servers]
        row("RSS after that", "MB", *rss, goal="1/4 or less")
        time.sleep(SETTLE_SECONDS)
        wakes = [server.wake_ups() for server in servers]
        time.sleep(options.idle_seconds)
        idle = [after - before for before, after in
                zip(wakes, (server.wake_ups() for server in servers))]
        print(f"{f'wake-ups in {options.idle_seconds} idle seconds':<34}{idle[0]:>20}{idle[1]:>16}"
              f"{'':>10}  not above")
        if not shutil.which("wrk"):
            print(f"p99 under {CLIENTS} scrapers: left out, wrk is not installed")
            return
        for what, way in WAYS.items():
            row(f"p99 of {CLIENTS}, {what}", "ms", *p99_under_load(servers, **way),
                goal="1/5 or less")
        peak = [server.memory("VmHWM") for server in servers]
        row("RSS at its peak", "MB", *peak, goal="1/4 or less")
        print()


if __name__ == "__main__":
    main()
