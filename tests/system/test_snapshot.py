"""--snapshot and --path.snapshot: from one machine to another, and nothing that says which it was."""

import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess

import pytest

import host_tree
from conftest import BOARDS, HOSTS, board_flags, board_names
from exporter import Exporter, binary, run, wait_until

HOLDS = re.compile(
    r"(?P<file>\S+): \d+ devicetree nodes?, \d+ PCI functions?, \d+ USB devices?, \d+ class devices?; "
    r"it is text without serial numbers, to be looked at before it is sent\n"
)


def snapshot(file, *flags):
    ended = run("--snapshot", str(file), *flags)
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    assert HOLDS.fullmatch(ended.stdout)["file"] == str(file)
    return file


def entries(file):
    """Without the comments in front, which tell of the kernel and the date."""
    return file.read_text("ascii").split("\n\n", 1)[1]


def metrics(*flags):
    """The series of that hardware, without what differs from one reading to the next and how often it is read."""
    with Exporter(*flags) as exporter:
        lines = exporter.metrics().splitlines()
        exporter.stop()
    varies = re.compile(
        "#|process_|devicetree_(collector_duration|snapshot_timestamp|refresh_interval|exporter_config_last)_"
    )
    return [line for line in lines if not varies.match(line)]


# The same hardware again.


@pytest.mark.parametrize("board", HOSTS)
def test_a_host_is_had_again_from_its_snapshot(make_host, tmp_path, board):
    here = f"--path.sysfs={make_host(board)}"
    there = f"--path.snapshot={snapshot(tmp_path / 'a.snapshot', here)}"
    assert metrics(there) == metrics(here)
    assert run(there, "-d").stdout == run(here, "-d").stdout
    where = {here.split("=")[1]: "SYS", there.split("=")[1]: "SYS"}
    explained = []
    for flag in (here, there):
        text = run(flag, "--explain").stdout
        for place, word in where.items():
            text = text.replace(place, word)
        explained.append(text)
    assert explained[0] == explained[1] != ""


@pytest.mark.parametrize("board", board_names())
def test_a_board_is_had_again_from_its_snapshot(machine, tmp_path, board):
    flags = board_flags(board)
    there = f"--path.snapshot={snapshot(tmp_path / 'a.snapshot', *machine(board))}"
    assert metrics(there, *flags) == metrics(*machine(board), *flags)
    assert run(there, *flags, "-d").stdout == (BOARDS / board / "expected/dry_run.txt").read_text()


@pytest.mark.parametrize("board", HOSTS)
def test_the_snapshot_of_a_replay_is_the_snapshot(make_host, tmp_path, board):
    first = snapshot(tmp_path / "first", f"--path.sysfs={make_host(board)}")
    second = snapshot(tmp_path / "second", f"--path.snapshot={first}")
    assert entries(second) == entries(first)
    assert "Linux" in first.read_text() and "Linux" not in second.read_text()


@pytest.mark.parametrize("board", [*HOSTS, "hostile"])
def test_a_snapshot_is_a_host_tree(make_host, machine, tmp_path, board):
    """What the tests' own expander makes of it gives the same again, as a board of tests/boards."""
    here = machine(board) if board == "hostile" else [f"--path.sysfs={make_host(board)}"]
    first = snapshot(tmp_path / "first", *here)
    host_tree.expand(first, tmp_path / "disk")
    disk = f"--path.sysfs={tmp_path / 'disk'}"
    assert entries(snapshot(tmp_path / "second", disk)) == entries(first)
    assert metrics(disk) == metrics(*here)


def test_device_nodes_are_had_again(make_host, tmp_path):
    sysfs, dev = make_host("rock-5b-host"), tmp_path / "dev"
    (dev / "dri").mkdir(parents=True)
    (dev / "dri/renderD128").touch()
    here = [f"--path.sysfs={sysfs}", f"--path.dev={dev}"]
    there = f"--path.snapshot={snapshot(tmp_path / 'a.snapshot', *here)}"
    assert metrics(there) == metrics(*here)
    assert 'accelerator_ready{kind="npu",bus="devicetree",address="/npu@fdab0000"} 0' in metrics(there)


# Writing it.


def test_a_dash_is_standard_output(make_host):
    ended = run(f"--path.sysfs={make_host('usb-host')}", "--snapshot", "-")
    assert ended.returncode == 0
    assert ended.stdout.startswith("# A machine's hardware under Linux ")
    assert HOLDS.fullmatch(ended.stderr)["file"] == "-"


def test_the_file_can_be_sent(make_host, tmp_path):
    file = snapshot(tmp_path / "a.snapshot", f"--path.sysfs={make_host('gpu-server')}")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert re.fullmatch(r"[ -~\n]+", file.read_text("ascii"))
    assert sorted(os.listdir(tmp_path)) == ["a.snapshot", "gpu-server"]


def test_a_snapshot_writes_nothing_else(make_host, tmp_path):
    """Neither the sinks' targets nor a listening socket."""
    textfiles = tmp_path / "textfiles"
    textfiles.mkdir()
    snapshot(tmp_path / "a.snapshot", f"--path.sysfs={make_host('usb-host')}", f"--textfile.directory={textfiles}")
    assert list(textfiles.iterdir()) == []


def test_a_file_that_cannot_be_written_is_one_line_and_1(tmp_path):
    ended = run("--snapshot", str(tmp_path / "none/a"))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"devicetree-exporter: --snapshot: {tmp_path}/none/a: creating a file beside it: No such file or directory\n"
    )


def test_a_full_standard_output_is_one_line_and_1(make_host):
    command = [binary(), f"--path.sysfs={make_host('usb-host')}", "--snapshot", "-"]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, "devicetree-exporter: standard output: cannot be written\n")


def test_what_cannot_be_read_is_named_and_the_rest_is_there(make_host, tmp_path):
    sysfs = make_host("gpu-server")
    vendor = sysfs / "bus/pci/devices/0000:98:00.0/vendor"
    vendor.unlink()
    vendor.mkdir()
    ended = run(f"--path.sysfs={sysfs}", "--snapshot", str(tmp_path / "a"))
    assert ended.returncode == 0
    assert "; 1 could not be read; " in ended.stdout
    text = (tmp_path / "a").read_text()
    assert "\n# Could not be read: bus/pci/devices/0000:98:00.0/vendor: Is a directory\n" in text
    assert "\n  vendor = 0x10de\n" in text


# This machine, for once: that it works on a real sysfs, and what is not in it.


def secrets():
    """What identifies this machine, as far as it can be read here."""
    files = [
        *pathlib.Path("/sys/class/net").glob("*/address"),
        *pathlib.Path("/sys/class/dmi/id").glob("*serial*"),
        *pathlib.Path("/sys/class/dmi/id").glob("*uuid*"),
        *pathlib.Path("/sys/bus/usb/devices").glob("*/serial"),
        *pathlib.Path("/sys/class/block").glob("*/serial"),
        *pathlib.Path("/sys/firmware/devicetree/base").glob("serial-number"),
        pathlib.Path("/etc/machine-id"),
        pathlib.Path("/proc/sys/kernel/random/boot_id"),
        pathlib.Path("/proc/sys/kernel/hostname"),
    ]
    for file in files:
        try:
            text = file.read_text(errors="replace").strip("\0\n ")
        except OSError:
            continue
        if len(text) > 3 and set(text) - set("0:-."):
            yield text


def test_this_machines_snapshot_identifies_it_not(tmp_path):
    ended = run("--path.sysfs=/sys", "--path.procfs=/proc", "--path.dev=/dev", "--snapshot", str(tmp_path / "a"))
    assert ended.returncode == 0, ended
    text = (tmp_path / "a").read_text("ascii").lower()
    for secret in secrets():
        assert secret.lower() not in text
    assert not re.search(r"\b([0-9a-f]{2}[:-]){5}[0-9a-f]{2}\b", text)
    assert metrics(f"--path.snapshot={tmp_path / 'a'}") == metrics(
        "--path.sysfs=/sys", "--path.procfs=/proc", "--path.dev=/dev"
    )


# Reading it.


def refused(*flags):
    ended = run(*flags)
    assert (ended.returncode, ended.stdout) == (2, ""), ended
    return ended.stderr.removeprefix("devicetree-exporter: ").removesuffix("\n")


@pytest.mark.parametrize("mode", [[], ["-d"], ["--config.check"], ["--snapshot", "-"]], ids=str)
def test_what_is_no_snapshot_is_one_line_and_2(tmp_path, mode):
    file = tmp_path / "a"
    flags = [f"--path.snapshot={file}", "--web.listen-address=127.0.0.1:0", *mode]
    assert refused(*flags) == f"--path.snapshot: {file}: No such file or directory; expected a snapshot"
    file.write_text("# a\n\n/etc/passwd = x\n")
    assert refused(*flags) == (
        f'--path.snapshot: {file}:3: "/etc/passwd": a path with the name ""; '
        "expected one that leads down from the root of the snapshot"
    )
    file.write_text("a/b -> ../../../etc/passwd\n")
    assert refused(*flags) == (
        f'--path.snapshot: {file}:1: "../../../etc/passwd" is no target of a link; '
        "expected a relative one that stays inside, its .. in front"
    )


@pytest.mark.parametrize("flag", ["sysfs", "procfs", "dev", "devicetree"])
def test_a_snapshot_stands_alone(tmp_path, flag):
    assert refused(f"--path.snapshot={tmp_path}/a", f"--path.{flag}={tmp_path}") == (
        "--path.snapshot: stands for all of the hardware; expected no --path.sysfs, --path.procfs, "
        "--path.dev or --path.devicetree beside it; see --help"
    )


def test_the_service_reads_the_snapshot_again(make_host, tmp_path):
    file = tmp_path / "a.snapshot"
    usb = snapshot(tmp_path / "usb", f"--path.sysfs={make_host('usb-host')}")
    gpus = snapshot(tmp_path / "gpus", f"--path.sysfs={make_host('gpu-server')}")
    shutil.copy(usb, file)
    with Exporter(f"--path.snapshot={file}") as exporter:
        assert 'bus="usb"' in exporter.metrics()
        events = "the hardware is that of --path.snapshot"
        wait_until(lambda: events in exporter.stderr, "a word on the kernel's events")
        gpus.rename(file)
        exporter.send_signal(signal.SIGHUP)
        wait_until(lambda: 'bus="pci"' in exporter.metrics(), "the other machine")
        file.write_text("nonsense\n")
        exporter.send_signal(signal.SIGHUP)
        wait_until(lambda: f"{file}:1: " in exporter.stderr, "a line in the log")
        assert 'bus="pci"' in exporter.metrics(), "the last good one stays"
        exporter.stop()


def test_a_replay_leaves_nothing_behind(make_host, tmp_path, monkeypatch):
    file = snapshot(tmp_path / "a.snapshot", f"--path.sysfs={make_host('usb-host')}")
    monkeypatch.chdir(tmp_path / "usb-host")
    before = sorted(pathlib.Path().rglob("*"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "usb-host"))
    with Exporter(f"--path.snapshot={file}") as exporter:
        assert sorted(pathlib.Path().rglob("*")) == before
        exporter.process.kill()
    assert sorted(pathlib.Path().rglob("*")) == before


def test_once_writes_what_a_snapshot_gives(make_host, tmp_path):
    file = snapshot(tmp_path / "a.snapshot", f"--path.sysfs={make_host('usb-host')}")
    ended = run(f"--path.snapshot={file}", "--once", f"--nfd.feature-file={tmp_path}/features.d/a")
    assert ended.returncode == 0, ended
    assert "beta.devicetree.org/accelerator.tpu=1\n" in (tmp_path / "features.d/a").read_text()
