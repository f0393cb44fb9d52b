"""Disks that are full or read-only: no half file, the old one stays, and a metric says so."""

import contextlib
import os
import pathlib
import random
import re
import signal
import subprocess
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter import Exporter, binary, run, wait_until

UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]
needs_namespaces = pytest.mark.skipif(
    subprocess.run([*UNSHARE, "true"], check=False).returncode != 0, reason="no user namespaces here"
)
DISK_BYTES = 256 << 10
KILLS = 30


class SmallDisk:
    """A file system of DISK_BYTES, in a mount namespace of its own; a context manager.

    under: what has a program see it, at `path`. files: where we see it.
    """

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        self.path.mkdir()
        mount = f'mount -t tmpfs -o size={DISK_BYTES} none "{self.path}" && echo mounted && exec sleep 1000000'
        self._holder = subprocess.Popen([*UNSHARE, "sh", "-c", mount], stdout=subprocess.PIPE)
        assert self._holder.stdout.readline() == b"mounted\n"
        self.under = ["nsenter", f"--target={self._holder.pid}", "--user", "--mount", "--preserve-credentials"]
        self.files = pathlib.Path(f"/proc/{self._holder.pid}/root{self.path}")
        return self

    def __exit__(self, *_):
        self._holder.kill()
        self._holder.wait()
        self._holder.stdout.close()

    def fill(self):
        """To the last byte."""
        filler = os.open(self.files / "filler", os.O_WRONLY | os.O_CREAT)
        with contextlib.suppress(OSError):
            while os.write(filler, bytes(4096)):
                pass
        os.close(filler)

    def free(self):
        (self.files / "filler").unlink()

    def remount(self, how):
        subprocess.run([*self.under, "mount", "-o", f"remount,{how}", self.path], check=True)

    def content(self):
        """By path, of all files but the filler."""
        found = [path for path in self.files.rglob("*") if path.is_file() and path.name != "filler"]
        return {str(path.relative_to(self.files)): path.read_bytes() for path in found}


def full(disk):
    disk.fill()
    return disk.free


def read_only(disk):
    disk.remount("ro")
    return lambda: disk.remount("rw")


faults = pytest.mark.parametrize(
    ("break_disk", "says"), [(full, "No space left on device"), (read_only, "Read-only file system")]
)


@pytest.fixture
def disk(tmp_path):
    with SmallDisk(tmp_path / "disk") as it:
        yield it


def make_board(base, name):
    base.mkdir(exist_ok=True)
    (base / "compatible").write_bytes(f"acme,{name}\0".encode())


def targets(disk):
    return [f"--textfile.directory={disk.path}", f"--nfd.feature-file={disk.path}/features.d/ours"]


TEXTFILE, FEATURES = "devicetree-exporter.prom", "features.d/ours"


def written(exporter):
    found = re.findall(r'^devicetree_exporter_file_last_write_successful\{file="(\w+)"\} (\d)$', exporter.metrics(), re.M)
    return dict(found)


@needs_namespaces
@faults
def test_files_stay_as_they_were_and_are_written_once_that_can_be_done(disk, tmp_path, break_disk, says):
    base = tmp_path / "base"
    make_board(base, "one")
    flags = [f"--path.devicetree={base}", "--labels.removal-delay=0s", *targets(disk)]
    with Exporter(*flags, under=disk.under) as exporter:
        wait_until(lambda: set(disk.content()) == {TEXTFILE, FEATURES}, "both files")
        assert written(exporter) == {"textfile": "1", "nfd_feature_file": "1"}
        before = disk.content()
        mend = break_disk(disk)
        for name in ["two", "three", "four"]:
            make_board(base, name)
            exporter.send_signal(signal.SIGHUP)
            wait_until(lambda name=name: f"acme-{name}" in exporter.metrics(), "the scrape tells the new board")
            wait_until(lambda: written(exporter) == {"textfile": "0", "nfd_feature_file": "0"}, "the metric says so")
        assert disk.content() == before, "byte for byte, and nothing beside them"
        errors = [line for line in exporter.stderr.splitlines() if "level=ERROR" in line]
        assert len(errors) == 2, "each once"
        assert all("trying again" in line and says in line for line in errors)
        assert all(any(str(disk.path / name) in line for line in errors) for name in [TEXTFILE, FEATURES])
        mend()
        make_board(base, "five")
        exporter.send_signal(signal.SIGHUP)
        wait_until(lambda: written(exporter) == {"textfile": "1", "nfd_feature_file": "1"}, "both are written again")
        after = disk.content()
        assert set(after) == {TEXTFILE, FEATURES}
        assert all(b"acme-five" in content for content in after.values())
        assert exporter.stderr.count("A file is written again") == 2
        exporter.stop()


def once(disk, *flags):
    return subprocess.run([*disk.under, binary(), *flags], capture_output=True, text=True, check=False, timeout=30)


@needs_namespaces
@faults
@pytest.mark.parametrize("mode", ["--once", "--snapshot"])
def test_a_single_run_says_so_in_one_line_and_leaves_the_old_file(disk, tmp_path, break_disk, says, mode):
    base = tmp_path / "base"
    make_board(base, "one")
    see = [f"--path.sysfs={tmp_path}", f"--path.devicetree={base}"]
    act = [f"--textfile.directory={disk.path}", "--once"] if mode == "--once" else ["--snapshot", f"{disk.path}/a"]
    assert once(disk, *see, *act).returncode == 0
    before = disk.content()
    assert len(before) == 1
    break_disk(disk)
    make_board(base, "two")
    ended = once(disk, *see, *act)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1 and says in ended.stderr
    assert disk.content() == before


def test_whoever_kills_it_finds_whole_files(dtb, tmp_path):
    """SIGKILL, as from the kernel that is out of memory, while it writes them again and again."""
    features = tmp_path / "features.d/ours"
    flags = [f"--path.devicetree={dtb('jetson-nano')}", f"--textfile.directory={tmp_path}", f"--nfd.feature-file={features}"]
    expected = run(flags[0], "-d").stdout.splitlines(keepends=True)[2:]
    moments = random.Random(9)
    names = set()
    for _ in range(KILLS):
        with Exporter(*flags) as exporter:
            wait_until(lambda: features.exists() and (tmp_path / TEXTFILE).exists(), "both files")
            end = time.monotonic() + moments.random() / 10
            while time.monotonic() < end:
                exporter.send_signal(signal.SIGHUP)
            exporter.process.kill()
            exporter.process.wait()
        families = [family.name for family in text_string_to_metric_families((tmp_path / TEXTFILE).read_text())]
        assert "devicetree_exporter_config_last_reload_success_timestamp_seconds" in families, "the last of them"
        lines = features.read_text().splitlines(keepends=True)
        assert [line.replace("=", ": ") for line in lines if line[0] != "#"] == expected
        names |= {path.name for path in [*tmp_path.iterdir(), *features.parent.iterdir()] if path.is_file()}
    # What was being written has a name that neither NFD nor node_exporter reads.
    assert all(name.startswith(".") for name in names - {features.name, TEXTFILE})


@pytest.mark.parametrize("mode", [["-d"], ["--explain"]], ids=lambda mode: mode[0])
def test_a_full_standard_output_is_one_line_and_1(make_host, mode):
    command = [binary(), f"--path.sysfs={make_host('usb-host')}", *mode]
    with open("/dev/full", "w") as output:
        ended = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, "devicetree-exporter: standard output: cannot be written\n")


def test_closed_standard_streams_are_nobody_elses(dtb, tmp_path):
    """Without them a file of ours would get their numbers, and the log's lines."""
    close = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    command = [*close, binary(), f"--path.devicetree={dtb('jetson-nano')}", f"--path.sysfs={tmp_path}",
               "--web.listen-address=127.0.0.1:0", f"--textfile.directory={tmp_path}"]
    process = subprocess.Popen(command)
    try:
        wait_until((tmp_path / TEXTFILE).exists, "the textfile")
        streams = [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)]
        assert streams == ["/dev/null"] * 3
        text_string_to_metric_families((tmp_path / TEXTFILE).read_text())
    finally:
        process.terminate()
        assert process.wait(timeout=10) == 0
