"""`dashboards/fleet` as its users start it."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from exporter import wait_until

FLEET = pathlib.Path(__file__).resolve().parents[2] / "dashboards/fleet"
STOP_SECONDS = 60

# One story needs it. The kernel refuses new user namespaces in a chroot, and some systems everywhere.
pytestmark = pytest.mark.skipif(
    subprocess.run(["unshare", "--user", "true"], check=False).returncode != 0, reason="no user namespaces here"
)


def read(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


@pytest.fixture
def fleet(tmp_path):
    """(the process, what it has printed so far)"""
    said = tmp_path / "said"
    with said.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, FLEET, "--nodes", "30", "--interval", "1s", "--turn", "1"],
            env={**os.environ, "DTE_VENV": "1", "TMPDIR": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            # A shell has its background jobs ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    yield process, said.read_text
    if process.poll() is None:
        process.send_signal(signal.SIGINT)  # so that it ends what it has started
        process.wait(timeout=STOP_SECONDS)


def test_it_says_where_to_look_breaks_things_and_ends(fleet):
    process, said = fleet
    wait_until(lambda: "Grafana" in said() or process.poll() is not None, "it says where to look", seconds=120)
    assert process.poll() is None, said()
    nodes, page = re.search(r"(\d+) nodes at (http://\S+)/node/NAME/metrics", said()).groups()
    assert nodes == "30"
    assert "devicetree_exporter_build_info" in read(f"{page}/node/jetson-nano-0/metrics")
    assert "NVIDIA Jetson Nano" in read(f"{page}/node/jetson-nano-0/")
    (prometheus,) = set(re.findall(r"(http://\S+)/targets", said()))
    assert "board:devicetree_machines:count" in read(f"{prometheus}/api/v1/rules")
    wait_until(lambda: "coral-unplugged-0: unplugged" in said(), "the Coral is unplugged", seconds=120)
    lost = 'accelerator_enabled{kind="tpu",bus="usb",address="1-1.2"}'
    wait_until(lambda: lost not in read(f"{page}/node/coral-unplugged-0/metrics"), "and is gone")
    assert lost in read(f"{page}/node/coral-0/metrics")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=STOP_SECONDS) == 0, said()
