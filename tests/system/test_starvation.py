"""Out of descriptors, out of memory, signals without end, stopped for a while: it goes on.

Nothing here ends the process, and nothing changes what it tells of the hardware. Once there is
again what it lacked, all is as before.
"""

import contextlib
import os
import pathlib
import re
import resource
import signal
import threading
import time

import pytest

from exporter import Exporter, run, wait_until
from test_abuse import SCRAPE_SECONDS, open_files, rss

BOARD = "hostile"  # the one of which there is most to tell
FLAGS = ["-n", "gpu"]
GROWTH = 4 << 20  # bytes that a storm may cost
UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
VOLATILE = re.compile(r"#|process_|devicetree_(collector_|snapshot_timestamp|exporter_)")


def facts(exporter):
    return [line for line in exporter.metrics().splitlines() if not VOLATILE.match(line)]


def read_well(exporter):
    successes = re.findall(r"^devicetree_collector_success\{.*\} (\d)$", exporter.metrics(), re.M)
    return successes and set(successes) == {"1"}


def connections(exporter):
    """Those that it has not closed yet: established, or closed by the peer alone."""
    rows = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()]
    return [row for row in rows if row[1].endswith(f":{exporter.port:04X}") and row[3] in ("01", "08")]


def cpu_seconds(exporter):
    fields = pathlib.Path(f"/proc/{exporter.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def threads(exporter):
    return len(list(pathlib.Path(f"/proc/{exporter.pid}/task").iterdir()))


# Descriptors.


# accept(2) on Linux takes a descriptor before it looks whether somebody waits: with one left for
# the scrape, it fails again when the scrape has been accepted, which is no reason to close anything.
@pytest.mark.parametrize("spare", [0, 1, 2])
def test_without_a_descriptor_nothing_is_forgotten_and_scrapes_go_on(make_host, spare):
    """None or too few are left to read the hardware with; a scrape gets that of who waits longest."""
    with Exporter(f"--path.sysfs={make_host('rock-5b-host')}") as exporter:
        before = facts(exporter)
        wait_until(lambda: not connections(exporter), "all earlier ones are closed")
        files = open_files(exporter)
        with exporter.connect():
            wait_until(lambda: open_files(exporter) == files + 1, "it is accepted")
            resource.prlimit(exporter.pid, resource.RLIMIT_NOFILE, (files + 1 + spare, 4096))
            exporter.send_signal(signal.SIGHUP)
            wait_until(lambda: "Too many open files" in exporter.stderr, "the log says so")
            wait_until(lambda: not read_well(exporter), "the metric says so")
            assert facts(exporter) == before
            begin, spent = time.monotonic(), cpu_seconds(exporter)
            assert facts(exporter) == before
            time.sleep(2)
            assert cpu_seconds(exporter) - spent < (time.monotonic() - begin) / 2, "it waits, and does not spin"
        resource.prlimit(exporter.pid, resource.RLIMIT_NOFILE, (4096, 4096))
        wait_until(lambda: read_well(exporter), "it reads again, untold", seconds=60)
        assert facts(exporter) == before
        exporter.stop()


# Memory.


@contextlib.contextmanager
def memory(exporter, more):
    """No more address space than it has, and so many bytes."""
    size = int(re.search(r"^VmSize:\s+(\d+) kB$", pathlib.Path(f"/proc/{exporter.pid}/status").read_text(), re.M)[1])
    resource.prlimit(exporter.pid, resource.RLIMIT_AS, ((size << 10) + more, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        if exporter.process.poll() is None:
            resource.prlimit(exporter.pid, resource.RLIMIT_AS, UNLIMITED)


@pytest.mark.parametrize("more", [0, 16 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20, 2 << 20],
                         ids=lambda more: f"{more >> 10} KiB")
def test_without_memory_the_last_snapshot_stays(machine, tmp_path, more):
    flags = [*machine(BOARD), *FLAGS, f"--textfile.directory={tmp_path}", f"--nfd.feature-file={tmp_path}/features.d/ours"]
    with Exporter(*flags) as exporter:
        before = facts(exporter)
        wait_until((tmp_path / "features.d/ours").exists, "the feature file")
        features = (tmp_path / "features.d/ours").read_text().splitlines()[2:]
        with memory(exporter, more):
            for _ in range(20):
                exporter.send_signal(signal.SIGHUP)
                for headers in [{}, {"Accept-Encoding": "gzip"}]:
                    # A scrape that there is no memory for is hung up on, and none is wrong.
                    with contextlib.suppress(OSError):
                        assert exporter.get("/metrics", headers).status == 200
            assert exporter.process.poll() is None, exporter.stderr
        reloads = exporter.stderr.count("Read the configuration")
        exporter.send_signal(signal.SIGHUP)
        wait_until(lambda: exporter.stderr.count("Read the configuration") > reloads, "it reads again", seconds=30)
        wait_until(lambda: read_well(exporter), "it reads well")
        assert facts(exporter) == before
        assert (tmp_path / "features.d/ours").read_text().splitlines()[2:] == features
        assert exporter.stderr.count("\n") < 60, "nor does the log fill"
        exporter.stop()


@pytest.mark.parametrize("megabytes", [8, 10, 12, 14, 16, 20, 24])
def test_too_little_memory_to_start_with_is_one_line_and_1_or_enough(machine, megabytes):
    ended = run(*machine(BOARD), *FLAGS, "-d", under=["prlimit", f"--as={megabytes << 20}"])
    if ended.returncode == 0:
        assert ended.stdout.startswith("Discovered the following devicetree properties:\n")
    else:
        before_main = [(-signal.SIGSEGV, ""), (127, "Fatal glibc error: Cannot allocate TLS block\n")]
        refusals = [(1, "devicetree-exporter: out of memory\n"), *before_main]
        assert (ended.returncode, ended.stderr) in refusals and ended.stdout == "", ended


# Signals.


@contextlib.contextmanager
def storm(exporter, *numbers):
    """These signals from several threads, as fast as they go."""
    ended = threading.Event()

    def send():
        while not ended.is_set() and exporter.process.poll() is None:
            for number in numbers:
                with contextlib.suppress(ProcessLookupError):
                    exporter.send_signal(number)

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    try:
        yield
    finally:
        ended.set()
        for sender in senders:
            sender.join()


def test_a_storm_of_reloads_costs_no_scrape_and_leaves_nothing_behind(machine, tmp_path):
    with Exporter(*machine(BOARD), *FLAGS, f"--textfile.directory={tmp_path}") as exporter:
        exporter.send_signal(signal.SIGHUP)
        wait_until(lambda: "Read the configuration" in exporter.stderr, "one reload")
        before, memory_before = facts(exporter), rss(exporter)
        files, tasks = open_files(exporter), threads(exporter)
        with storm(exporter, signal.SIGHUP):
            end = time.monotonic() + 3
            while time.monotonic() < end or exporter.stderr.count("Read the configuration") < 20:
                begin = time.monotonic()
                assert facts(exporter) == before
                assert time.monotonic() - begin < SCRAPE_SECONDS
        wait_until(lambda: open_files(exporter) <= files and threads(exporter) == tasks, "all is given back")
        assert rss(exporter) - memory_before < GROWTH
        wait_until(lambda: os.listdir(tmp_path) == ["devicetree-exporter.prom"], "nothing beside the file")
        exporter.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_well_in_the_midst_of_a_storm(machine, tmp_path, number):
    with Exporter(*machine(BOARD), *FLAGS, f"--textfile.directory={tmp_path}") as exporter:
        with storm(exporter, signal.SIGHUP, number):
            assert exporter.process.wait(timeout=5) == 0
        assert os.listdir(tmp_path) == ["devicetree-exporter.prom"]


# Stopped for longer than any deadline, as a machine that sleeps or a frozen container.


def test_whoever_is_stopped_for_long_goes_on_where_it_was(machine):
    with Exporter(*machine(BOARD), *FLAGS) as exporter:
        before, files = facts(exporter), open_files(exporter)
        with contextlib.ExitStack() as stack:
            for sent in [b"", b"GET /metrics HTTP/1.1\r\n", b"GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n"] * 10:
                stack.enter_context(exporter.connect()).sendall(sent)
            exporter.send_signal(signal.SIGSTOP)
            waiting = exporter.connect()  # the kernel accepts it
            waiting.settimeout(SCRAPE_SECONDS)
            waiting.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            time.sleep(12)  # exporter/sinks/http_server.h: every deadline but that of kept connections
            exporter.send_signal(signal.SIGCONT)
            answer = b"".join(iter(lambda: waiting.recv(65536), b""))
            waiting.close()
            assert answer.startswith(b"HTTP/1.1 200 "), answer
            assert facts(exporter) == before
        wait_until(lambda: open_files(exporter) <= files, "their descriptors are free again", seconds=20)
        exporter.stop()
