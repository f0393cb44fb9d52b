"""The boards' expected files are what the oracle says, and the oracle knows the contract's examples.

    python3 -m pytest tests/oracle
    DTE_REWRITE_BOARDS=1 python3 -m pytest tests/oracle    writes the files instead (boards/README.md)
"""

import os
import pathlib
import stat
import struct
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import accelerators  # noqa: E402
import expect  # noqa: E402
import fdt  # noqa: E402
import labels  # noqa: E402
import unpack  # noqa: E402

BOARDS = sorted((HERE.parent / "boards").glob("*/flags"))


def compiled(folder):
    """The blob of a board; None for a machine without a devicetree."""
    source = folder / "board.dts"
    if not source.exists():
        return None
    return subprocess.run(["dtc", "-q", "-I", "dts", "-O", "dtb", source], check=True, stdout=subprocess.PIPE).stdout


def patterns(folder):
    """Of the one line "-n NAME..."."""
    option, *names = (folder / "flags").read_bytes().split()
    assert option == b"-n"
    return names


@pytest.mark.parametrize("folder", [flags.parent for flags in BOARDS], ids=lambda folder: folder.name)
def test_the_boards_expected_files_are_the_oracles(folder):
    files = expect.expected_files(compiled(folder), patterns(folder))
    if os.environ.get("DTE_REWRITE_BOARDS"):
        for name, content in files.items():
            (folder / "expected" / name).write_bytes(content)
    for name, content in files.items():
        assert (folder / "expected" / name).read_bytes() == content, name


@pytest.mark.parametrize("compatible, name", [
    (b"nvidia,p3737-0000+p3701-0000", b"nvidia-p3737-0000_p3701-0000"),  # the contract's own
    (b"nvidia,jetson-nano", b"nvidia-jetson-nano"),
    (b"xlnx,zynqmp", b"xilinx-zynqmp"),
    (b" jedec,spi-nor", b"jedec-spi-nor"),
    (b"amlogic, galcore", b"amlogic-_galcore"),
    (b"hailo,integrated-nnc,hailo15l", b"hailo-integrated-nnc-hailo15l"),
])
def test_a_compatible_becomes_this_label_name(compatible, name):
    assert labels.label_name(compatible) == (name, None)


@pytest.mark.parametrize("compatible, reason", [(b",,,", "empty"), (b"a," + b"b" * 62, "too_long")])
def test_a_compatible_is_rejected(compatible, reason):
    assert labels.label_name(compatible) == (None, reason)


@pytest.mark.parametrize("compatible", [b"accelerator.gpu", b"-accelerator.npu.count", b"accelerator.,x"])
def test_the_names_that_say_what_was_found_are_reserved(compatible):
    names = labels.Labels()
    names.add(compatible)
    assert (names.items(), names.rejected, names.key_of(compatible)) == ([], {compatible: "collision"}, b"")


@pytest.mark.parametrize("data, text", [
    (b"caf\xc3\xa9 \xe2\x80\xa8", "caf\xe9 \u2028"),
    (b"a\n\x7f", r"a\x0a\x7f"),
    (b"a\xc2\x85 \xc2\x9b31m \xc2\xa0", "a\\xc2\\x85 \\xc2\\x9b31m \xa0"),  # U+0085, U+009B, U+00A0
    (b"\xff\x9b", r"\xff\x9b"),
])
def test_a_control_character_and_a_stray_byte_are_shown_as_bytes(data, text):
    assert expect.printable(data) == text


def board(name):
    return fdt.parse(compiled(HERE.parent / "boards" / name))


def test_the_fingerprint_leaves_out_what_firmware_fills_in():
    root = board("jetson-nano")
    before = expect.fingerprint(root)
    for child in root.children:
        if child.name in (b"chosen", b"aliases", b"memory@80000000", b"reserved-memory"):
            child.properties[b"compatible"] = b"changed\0"
            child.children = []
    root.properties[b"serial-number"] = b"changed\0"
    assert expect.fingerprint(root) == before
    root.children[-1].properties[b"status"] = b"changed\0"
    assert expect.fingerprint(root) != before


def test_the_fingerprint_is_fnv_1a_of_these_bytes():
    # A bare root: "/", NUL, "okay", NUL, no compatible, 0x01.
    number = 0xCBF29CE484222325
    for byte in b"/\0okay\0\x01":
        number = (number ^ byte) * 0x100000001B3 % 2**64
    assert expect.fingerprint(fdt.Node(b"", None)) == number


def test_one_npu_of_three_nodes_is_one_device():
    devices, traps = accelerators.find(board("rock-5b"))
    found = [(device.kind, len(device.paths), device.enabled) for device in devices]
    assert found == [("gpu", 1, True), ("npu", 3, True)]
    assert {trap.compatible for trap in traps} >= {
        b"rockchip,rk3588-npu-grf", b"rockchip,rk3588-vpu121", b"shared-dma-pool"}


def test_a_device_of_several_nodes_is_called_after_the_first_that_is_enabled():
    root = board("rock-5b")
    for child in root.children:
        if child.name == b"npu@fdab0000":
            child.properties[b"status"] = b"disabled\0"
    npu = accelerators.find(root)[0][1]
    assert (npu.kind, npu.address, len(npu.paths), npu.enabled) == ("npu", b"/npu@fdac0000", 3, True)


def test_what_is_switched_off_is_described_only():
    devices, _ = accelerators.find(board("rock-5b-npu-disabled"))
    assert [(device.kind, device.enabled) for device in devices] == [("gpu", True), ("npu", False)]


def test_an_unpacked_tree_looks_like_linux_shows_it(tmp_path):
    structure = b"".join([
        struct.pack(">I", 1), b"\0\0\0\0",
        struct.pack(">III", 3, 2, 0), b"ab\0\0",
        struct.pack(">I", 1), b"gpu@0\0\0\0", struct.pack(">II", 2, 2), struct.pack(">I", 9),
    ])
    names = b"security-key\0"
    header = struct.pack(">10I", 0xD00DFEED, 56 + len(structure) + len(names), 56, 56 + len(structure), 40, 17, 16, 0,
                         len(names), len(structure))
    unpack.unpack(header + bytes(16) + structure + names, tmp_path / "base")
    base = tmp_path / "base"
    assert sorted(path.relative_to(base).as_posix() for path in base.rglob("*")) == [
        "gpu@0", "gpu@0/name", "name", "security-key"]
    assert (base / "name").read_bytes() == b"\0"
    assert (base / "gpu@0/name").read_bytes() == b"gpu\0"
    assert (base / "security-key").read_bytes() == b"ab"
    assert stat.S_IMODE((base / "security-key").stat().st_mode) == 0o400
    assert stat.S_IMODE((base / "gpu@0").stat().st_mode) == 0o755
