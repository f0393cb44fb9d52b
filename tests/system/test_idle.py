"""Between events the process sleeps: nothing wakes it."""

import pathlib
import re
import time

import host_tree
from conftest import BOARDS
from exporter import Exporter

SECONDS = 60
ALLOWED = 2  # the last connection's deadline, and one to spare


def wake_ups(pid):
    """Thread name and id -> how often it has given up the processor of its own will: to sleep."""
    counts = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        status = (task / "status").read_text()
        name = re.search(r"^Name:\s+(.*)$", status, re.MULTILINE)[1]
        counts[f"{name} {task.name}"] = int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)$", status, re.MULTILINE)[1])
    return counts


def test_an_idle_minute(tmp_path, record_property):
    host_tree.expand(BOARDS / "gpu-server/host.tree", tmp_path)
    # Its broken function would be tried again, after 1 s, 2 s, 4 s... up to --refresh.interval.
    (tmp_path / "bus/pci/devices/0000:00:1f.2").unlink()
    with Exporter(f"--path.sysfs={tmp_path}") as exporter:
        exporter.metrics()
        time.sleep(1)  # until the scrape's thread sleeps again
        before = wake_ups(exporter.pid)
        time.sleep(SECONDS)
        after = wake_ups(exporter.pid)
    assert set(before) == set(after), "a thread came or went"
    woken = {thread: after[thread] - before[thread] for thread in after if after[thread] != before[thread]}
    record_property(f"wake-ups in {SECONDS} s", str(woken))
    print(f"wake-ups in {SECONDS} s: {woken}")
    assert sum(woken.values()) <= ALLOWED, woken
