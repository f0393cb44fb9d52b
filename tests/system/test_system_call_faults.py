"""Each system call of a whole run fails once: it is said, or it harms nothing; never a crash, a hang or a wrong fact.

strace does it (-e inject), which nothing real can be made to do on demand; it counts each thread's calls
for themselves. Left out are the calls that a process cannot go on without, and that its C library makes for
it (memory, threads' own set-up), and epoll_ctl: Asio does not look at what that says of its timers.
"""

import collections
import contextlib
import errno
import http.client
import os
import re
import signal
import socket
import subprocess
import time

import pytest

import exporter
from exporter import START_SECONDS, binary, request, wait_until

FAULTS = [  # the calls that a run makes, with errors that their manual pages name
    ("accept", "ECONNABORTED"),
    ("accept", "EMFILE"),
    ("bind", "EACCES"),
    ("clone3", "EAGAIN"),
    ("close", "EIO"),
    ("epoll_create1", "EMFILE"),
    ("eventfd2", "EMFILE"),
    ("fchmod", "EPERM"),
    ("fcntl", "EINVAL"),
    ("fsync", "EIO"),
    ("fsync", "EINVAL"),
    ("getdents64", "EIO"),
    ("getrusage", "EFAULT"),
    ("getsockname", "ENOBUFS"),
    ("ioctl", "EIO"),
    ("landlock_add_rule", "ENOMEM"),
    ("landlock_create_ruleset", "EOPNOTSUPP"),
    ("landlock_restrict_self", "E2BIG"),
    ("listen", "EADDRINUSE"),
    ("newfstatat", "EIO"),
    ("openat", "ENFILE"),
    ("poll", "EINTR"),
    ("prctl", "EPERM"),
    ("pread64", "EIO"),
    ("prlimit64", "EPERM"),
    ("read", "EIO"),
    ("read", "EINTR"),
    ("readlinkat", "EIO"),
    ("recvfrom", "ECONNRESET"),
    ("rename", "EIO"),
    ("sendmsg", "EPIPE"),
    ("setsockopt", "ENOPROTOOPT"),
    ("signalfd4", "EMFILE"),
    ("socket", "EMFILE"),
    ("timerfd_create", "EMFILE"),
    ("timerfd_settime", "ENOMEM"),
    ("write", "EIO"),
    ("write", "EINTR"),
]
SCRAPE_SECONDS = 3  # the promise of test_abuse.py
MOST_PER_CALL = 6  # the first, the last, and some between them
LIVE = re.compile(r"^(process_|devicetree_exporter_|# |.*_(duration|timestamp)_seconds)")


def may_trace():
    command = ["strace", "-D", "-qq", "-o", "/dev/null", "true"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not may_trace(), reason="no strace, or it may not trace here")


def facts(port):
    """The lines that the hardware alone decides."""
    body = request("127.0.0.1", port, "GET", "/metrics").body.decode()
    return [line for line in body.splitlines() if not LIVE.match(line)]


class Run:
    """The exporter under strace; a context manager. log is what it has said so far."""

    def __init__(self, flags, strace, folder, host="127.0.0.1"):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        address = f"--web.listen-address={host}:{self._port}"
        self._command = ["strace", "-D", "-f", "-qq", *strace, binary(), *flags, address]
        self._stderr = folder / "stderr"

    def __enter__(self):
        # -D: strace is no parent of ours, which so gets its signals and gives its exit code.
        with self._stderr.open("w") as stderr:
            self.process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr)
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def log(self):
        return self._stderr.read_text()

    def scrape(self):
        """The facts, once it answers, or None if it has ended.

        The connection that a fault hits may be lost, not the next.
        """

        def answer():
            with contextlib.suppress(OSError, http.client.HTTPException):
                return facts(self._port)
            return self.process.poll() is not None and "ended"

        found = wait_until(answer, f"it answers; it said {self.log}", 3 * START_SECONDS)
        return None if found == "ended" else found

    def reload(self):
        self.process.send_signal(signal.SIGHUP)
        time.sleep(0.05)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(START_SECONDS)


@pytest.fixture(name="flags_for")
def _flags_for(tmp_path, make_host):
    """A board, the file sinks, the server: most of what the program does without a network."""

    def flags(host):
        return [f"--path.sysfs={make_host(host)}", f"--textfile.directory={tmp_path}",
                f"--nfd.feature-file={tmp_path}/features"]

    return flags


@pytest.fixture(name="flags")
def _flags(flags_for):
    return flags_for("rock-5b-host")


@pytest.fixture(name="unharmed")
def _unharmed(flags, tmp_path):
    """What a run without a fault answers, and of each call the numbers of those that are the program's own."""
    trace = tmp_path / "trace"
    with Run(flags, ["-o", str(trace)], tmp_path) as run:
        expected = run.scrape()
        assert expected, run.log
        run.reload()
        assert run.scrape() == expected
        assert run.stop() == 0
    assert [line for line in expected if line.startswith("accelerator_ready{")] != []
    # Before main() there are the loader and what a build for tests brings along.
    before, main, after = trace.read_text().partition("fcntl(0, F_GETFD")
    assert main, "its first call has changed"
    made = collections.Counter(re.findall(r"^(\d+ +\w+)\(", before, re.M))  # strace counts for each thread
    own, wakes = collections.defaultdict(set), collections.defaultdict(set)
    for thread, call, line in re.findall(r"^(\d+) +(\w+)\((.*)", main + after, re.M):
        made[f"{thread} {call}"] += 1
        # One that wakes a thread through an eventfd cannot fail; nothing would wake the thread then.
        (wakes if '"\\1\\0\\0' in line else own)[call].add(made[f"{thread} {call}"])
    return expected, {call: sorted(numbers - wakes[call]) for call, numbers in own.items()}


def some_of(numbers):
    last = len(numbers) - 1
    return sorted({numbers[round(step * last / (MOST_PER_CALL - 1))] for step in range(MOST_PER_CALL)})


def one_fault(call, error, number):
    return ["-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={number}"]


@pytest.mark.parametrize("call, error", FAULTS)
def test_it_fails_once(call, error, flags, unharmed, tmp_path):
    expected, own = unharmed
    if call.startswith("landlock") and "landlock_restrict_self" not in own:
        pytest.skip("this kernel has no Landlock")
    assert call in own, f"a run makes no {call} any more"
    for number in some_of(own[call]):
        place = f"{call} {number} of {own[call]}"
        with Run(flags, one_fault(call, error, number), tmp_path) as run:
            found = run.scrape()
            if found is None:
                code = run.process.wait()
                if "error while loading shared libraries" in run.log:
                    continue  # another thread's first call is the loader's in a build for tests
                assert code == 1, f"{place}: exit code {code}; {run.log}"
                assert len(run.log.splitlines()) == 1, f"{place}: {run.log}"
                continue
            assert found == expected or re.search("level=(WARN|ERROR)", run.log), f"{place}: {set(found) ^ set(expected)}"
            run.reload()
            run.scrape()
            code = run.stop()
            assert code == 0, f"{place}: exit code {code}; {run.log}"


BASE = "rock-5b-host/firmware/devicetree/base"
GPU = "rock-5b-host/devices/platform/fb000000.gpu"
HARMLESS = [  # a call of one file or folder: below the test's folder, or of the process itself
    # interrupted
    ("read", "EINTR", f"{BASE}/compatible"),
    ("read", "EINTR", "features"),
    # gone in the moment that it was looked at: looked at again
    ("read", "ENODEV", f"{BASE}/compatible"),
    ("getdents64", "ENODEV", f"{BASE}/aliases"),
    # the folder of a sink, on a file system that cannot flush one
    ("fsync", "EINVAL", "."),
    # what /proc says of the process: left out
    ("openat", "EACCES", "/proc/self/stat"),
    ("read", "EIO", "/proc/self/stat"),
    ("newfstatat", "EACCES", "/proc/self/fd"),
]
SAID = [
    ("read", "EPERM", f"{BASE}/compatible"),
    ("openat", "EIO", GPU),
    ("readlinkat", "EIO", GPU),
    ("readlinkat", "EIO", "gpu-server/bus/pci/devices"),
    ("readlinkat", "EIO", "usb-host/bus/usb/devices"),
    ("fsync", "EIO", "."),
    ("openat", "EMFILE", "."),
]
AT = {("openat", "EMFILE", "."): "3+"}  # the first two are Landlock's, for each sink


def one_fault_at(call, error, path, folder):
    selected = path if path.startswith("/proc") else str((folder / path).resolve())
    return [*one_fault(call, error, AT.get((call, error, path), 1)), "-P", selected]


@pytest.mark.parametrize("call, error, path", HARMLESS)
def test_it_fails_once_at_one_place_and_harms_nothing(call, error, path, flags, unharmed, tmp_path):
    with Run(flags, one_fault_at(call, error, path, tmp_path), tmp_path) as run:
        assert run.scrape() == unharmed[0], run.log
        assert not re.search("level=(WARN|ERROR)", run.log), run.log
        assert run.stop() == 0


@pytest.mark.parametrize("call, error, path", SAID)
def test_it_fails_once_at_one_place_and_is_said(call, error, path, flags_for, tmp_path):
    host = path.split("/")[0] if "/" in path else "rock-5b-host"
    with Run(flags_for(host), one_fault_at(call, error, path, tmp_path), tmp_path) as run:
        assert run.scrape() is not None
        wait_until(lambda: os.strerror(getattr(errno, error)) in run.log, "it says so")
        assert run.stop() == 0


@pytest.mark.parametrize("call, error, code", [("read", "EINTR", 0), ("read", "EIO", 2), ("newfstatat", "EACCES", 2)])
def test_a_blob_that_cannot_be_read_once_is_read_on_or_named(call, error, code, dtb):
    blob = str(dtb("rock-5b"))
    strace = ["strace", "-D", "-f", "-qq", *one_fault(call, error, 1), "-P", blob]
    ended = exporter.run(f"--path.devicetree={blob}", "--dry-run", under=strace)
    assert ended.returncode == code, ended
    assert code == 0 or blob in ended.stderr


@pytest.mark.parametrize("host, served", [("", True), ("[::1]", False)])
def test_without_ipv6_all_of_ipv4_is_served(tmp_path, host, served):
    """As where the kernel has no IPv6: the first socket of the server is refused."""
    flags = [f"--path.sysfs={tmp_path}"]
    # The first is of the kernel's events.
    with Run(flags, one_fault("socket", "EAFNOSUPPORT", 2), tmp_path, host=host) as run:
        assert (run.scrape() is not None) == served, run.log
        assert ("address=0.0.0.0:" if served else "Address family not supported") in run.log


def test_a_peer_that_is_gone_before_it_is_accepted_holds_up_no_other(tmp_path):
    flags = [f"--path.sysfs={tmp_path}"]
    with Run(flags, one_fault("accept", "ECONNABORTED", 4), tmp_path) as run:
        run.scrape()
        begin = time.monotonic()
        run.scrape()
        assert time.monotonic() - begin < SCRAPE_SECONDS
