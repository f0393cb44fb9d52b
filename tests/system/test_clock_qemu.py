"""A clock that is set, on a real kernel in a QEMU guest.

Boards without a battery start in 1970 and learn the time later. Expected: the contract's sinks hold: labels stay, NFD's feature file does not expire
while we run, and what has a date has the right one.

Environment: DTE_ARM64_BINARY, the cross-built static devicetree-exporter.
"""

import calendar
import os
import pathlib
import re
import time

import pytest

import qemu
from exporter import request, wait_until

FEATURES = "/tmp/features.d/ours"
DAY = 86400
NFD_LIFE = 3600  # seconds; exporter/outputs.cc
SLACK = 120  # an emulated machine is slow


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    binary = os.environ.get("DTE_ARM64_BINARY")
    assert binary, "DTE_ARM64_BINARY is not set: the path of the static arm64 devicetree-exporter"
    folder = tmp_path_factory.mktemp("clock")
    flags = f"-n gpu --nfd.feature-file={FEATURES} --refresh.interval=1h"
    with qemu.boot(pathlib.Path(binary), qemu.jetson_nano_tree(folder), folder, [], flags) as guest:
        wait_until(lambda: guest.root(f"test -s {FEATURES}").exit_code == 0, "the feature file", qemu.DEADLINE_SECONDS)
        yield guest


def clock(guest):
    return int(guest.root("date +%s").output)


def metrics(guest):
    answer = request("127.0.0.1", guest.port, "GET", "/metrics", seconds=30)
    assert answer.status == 200
    return answer.body.decode()


def labels(guest):
    return [line for line in metrics(guest).splitlines() if line.startswith("devicetree_node_label_info")]


def features(guest):
    """(the time at which they expire, the labels)"""
    lines = guest.root(f"cat {FEATURES}").output.splitlines()
    expiry, = (line.partition("=")[2] for line in lines if line.startswith("# +expiry-time="))
    return calendar.timegm(time.strptime(expiry, "%Y-%m-%dT%H:%M:%SZ")), [line for line in lines if line[0] != "#"]


def assert_dates_are_right(guest):
    def are_right():
        now = clock(guest)
        read_at = float(re.search(r"^devicetree_snapshot_timestamp_seconds (\S+)$", metrics(guest), re.M)[1])
        return abs(read_at - now) < SLACK and NFD_LIFE - SLACK < features(guest)[0] - now <= NFD_LIFE + SLACK

    wait_until(are_right, f"dates of now; the console:\n{guest.console}", qemu.DEADLINE_SECONDS)


@pytest.mark.parametrize("jump", [DAY, -DAY, 20 * 365 * DAY, -30 * 365 * DAY], ids=["a day on", "a day back", "far on", "far back"])
def test_a_clock_that_is_set_changes_dates_and_nothing_else(guest, jump):
    before = labels(guest), features(guest)[1]
    assert before[0] and before[1]
    said = guest.console.count("The clock was set")
    assert guest.root(f"date -s @{clock(guest) + jump}").exit_code == 0
    assert_dates_are_right(guest)
    assert (labels(guest), features(guest)[1]) == before
    assert guest.console.count("The clock was set") == said + 1
    assert request("127.0.0.1", guest.port, "GET", "/-/ready", seconds=30).status == 200
