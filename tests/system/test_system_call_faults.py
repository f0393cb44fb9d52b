"""Each system call of a whole run fails once: it is said, or it harms nothing; never a crash, a hang or a wrong fact.

strace does it (-e inject), which nothing real can be made to do on demand. The calls that a process
cannot go on without, and that its C library makes for it (memory, threads' own set-up), are left out.
"""

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import time

import pytest

from exporter import START_SECONDS, binary, request, wait_until

ERRORS = {  # of the calls that a run makes, as their manual pages name them
    "accept": "EMFILE",
    "bind": "EACCES",
    "clone3": "EAGAIN",
    "close": "EIO",
    "epoll_create1": "EMFILE",
    "epoll_ctl": "ENOMEM",
    "eventfd2": "EMFILE",
    "fchmod": "EPERM",
    "fcntl": "EINVAL",
    "fsync": "EIO",
    "getdents64": "EIO",
    "getrusage": "EFAULT",
    "getsockname": "ENOBUFS",
    "ioctl": "EIO",
    "landlock_add_rule": "ENOMEM",
    "landlock_create_ruleset": "EOPNOTSUPP",
    "landlock_restrict_self": "E2BIG",
    "listen": "EADDRINUSE",
    "newfstatat": "EIO",
    "openat": "ENFILE",
    "poll": "EINTR",
    "prctl": "EPERM",
    "pread64": "EIO",
    "prlimit64": "EPERM",
    "read": "EIO",
    "readlinkat": "EIO",
    "recvfrom": "ECONNRESET",
    "rename": "EIO",
    "sendmsg": "EPIPE",
    "setsockopt": "ENOPROTOOPT",
    "signalfd4": "EMFILE",
    "socket": "EMFILE",
    "timerfd_create": "EMFILE",
    "timerfd_settime": "ENOMEM",
    "write": "EIO",
}
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

    def __init__(self, flags, strace, folder):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        address = f"--web.listen-address=127.0.0.1:{self._port}"
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


@pytest.fixture(name="flags")
def _flags(tmp_path, make_host):
    """A board, the file sinks, the server: most of what the program does without a network."""
    return [f"--path.sysfs={make_host('rock-5b-host')}", f"--textfile.directory={tmp_path}",
            f"--nfd.feature-file={tmp_path}/features"]


@pytest.fixture(name="unharmed")
def _unharmed(flags, tmp_path):
    """What a run without a fault answers, and how often it made each call."""
    trace = tmp_path / "trace"
    with Run(flags, ["-o", str(trace)], tmp_path) as run:
        expected = run.scrape()
        assert expected, run.log
        run.reload()
        assert run.scrape() == expected
        assert run.stop() == 0
    assert [line for line in expected if line.startswith("accelerator_ready{")] != []
    calls = re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.M)
    return expected, {name: calls.count(name) for name in ERRORS}


def chosen(count):
    if count <= MOST_PER_CALL:
        return range(1, count + 1)
    return sorted({1 + round(step * (count - 1) / (MOST_PER_CALL - 1)) for step in range(MOST_PER_CALL)})


@pytest.mark.parametrize("call", ERRORS)
def test_it_fails_once(call, flags, unharmed, tmp_path):
    expected, counts = unharmed
    assert counts[call], f"a run makes no {call} any more"
    for number in chosen(counts[call]):
        fault = ["-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={call}:error={ERRORS[call]}:when={number}"]
        place = f"{call} {number} of {counts[call]}"
        with Run(flags, fault, tmp_path) as run:
            found = run.scrape()
            if found is None:
                code = run.process.wait()
                if "error while loading shared libraries" in run.log:
                    continue  # a build for tests, which is linked dynamically
                assert code == 1, f"{place}: exit code {code}; {run.log}"
                assert len(run.log.splitlines()) == 1, f"{place}: {run.log}"
                continue
            assert found == expected or re.search("level=(WARN|ERROR)", run.log), f"{place}: {set(found) ^ set(expected)}"
            run.reload()
            run.scrape()
            code = run.stop()
            assert code == 0, f"{place}: exit code {code}; {run.log}"
