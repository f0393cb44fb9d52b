"""The exporter on a real kernel's live devicetree: a Jetson Nano's, in a QEMU guest.

Environment: DTE_ARM64_BINARY, the cross-built static devicetree-exporter.
"""

import os
import pathlib

import pytest
from prometheus_client.parser import text_string_to_metric_families

import qemu
from exporter import request, wait_until

# The transcript, to the letter. Accelerator labels may follow.
TRANSCRIPT = """\
Discovered the following devicetree properties:

beta.devicetree.org/nvidia-jetson-nano: 1
beta.devicetree.org/nvidia-tegra210: 1
beta.devicetree.org/nvidia-tegra210-gm20b: 1
beta.devicetree.org/nvidia-gm20b: 1
"""
ACCELERATOR_LABEL = "beta.devicetree.org/accelerator."
MODEL = "NVIDIA Jetson Nano Developer Kit"
LIVE_TREE = "/sys/firmware/devicetree/base"
COMMANDS = {
    "id": "id -u",
    "dry run": f"{qemu.EXPORTER} -d -n gpu",
    "dry run of the link": f"{qemu.EXPORTER} --path.devicetree=/proc/device-tree -d -n gpu",
    # Each node is a directory, the root too.
    "nodes": f"find {LIVE_TREE} -type d | wc -l",
}


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    binary = os.environ.get("DTE_ARM64_BINARY")
    assert binary, "DTE_ARM64_BINARY is not set: the path of the static arm64 devicetree-exporter"
    folder = tmp_path_factory.mktemp("guest")
    tree = qemu.jetson_nano_tree(folder)
    with qemu.boot(pathlib.Path(binary), tree, folder, list(COMMANDS.values()), "-n gpu") as guest:
        yield guest


@pytest.fixture(scope="module")
def samples(guest):
    """What the host scrapes from the guest, by sample name."""

    def scrape():
        try:
            return request("127.0.0.1", guest.port, "GET", "/metrics", seconds=30)
        except OSError:  # the guest forwards before the exporter listens
            return None

    answer = wait_until(scrape, f"a scrape; the console:\n{guest.console}", qemu.DEADLINE_SECONDS)
    assert answer.status == 200
    by_name = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            by_name.setdefault(sample.name, []).append(sample)
    return by_name


def result(guest, name):
    return guest.results[list(COMMANDS).index(name)]


def test_commands_run_unprivileged(guest):
    assert result(guest, "id").output == "65534\n"


def test_dry_run_prints_the_transcript(guest):
    dry_run = result(guest, "dry run")
    assert dry_run.exit_code == 0
    assert dry_run.output.startswith(TRANSCRIPT)
    rest = dry_run.output.removeprefix(TRANSCRIPT)
    assert all(line.startswith(ACCELERATOR_LABEL) for line in rest.splitlines())


def test_proc_device_tree_gives_the_same(guest):
    assert result(guest, "dry run of the link") == result(guest, "dry run")


def test_scrape_tells_the_board(samples):
    assert [sample.value for sample in samples["devicetree_present"]] == [1]
    (info,) = samples["devicetree_info"]
    assert info.labels == {"model": MODEL, "compatible": "nvidia,jetson-nano"}


def test_scrape_counts_the_kernels_nodes(guest, samples):
    nodes = {sample.labels["status"]: sample.value for sample in samples["devicetree_nodes"]}
    assert sum(nodes.values()) == int(result(guest, "nodes").output)
