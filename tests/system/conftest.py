"""What every system test gets: the boards of tests/boards, and the peers' programs.

Environment: DTE_BINARY, the built devicetree-exporter; DTE_PEERS, the folder
that tests/peers/build filled. tests/run sets both.
"""

import contextlib
import os
import pathlib
import shlex
import subprocess
import sys

import pytest

import exporter
import host_tree
from control_plane import ControlPlane

BOARDS = pathlib.Path(__file__).resolve().parent.parent / "boards"
HOSTS = sorted(path.parent.name for path in BOARDS.glob("*/host.tree"))
UNPACK = BOARDS.parent / "oracle/unpack.py"


def board_names():
    """The folders of tests/boards. One without a board.dts is a machine without a devicetree."""
    names = sorted(path.parent.name for path in BOARDS.glob("*/flags"))
    assert names, f"no boards in {BOARDS}"
    return names


def pytest_configure():
    try:
        exporter.binary()
    except (RuntimeError, OSError) as error:
        pytest.exit(f"system tests: {error}", returncode=2)


@pytest.fixture(scope="session")
def dtb(tmp_path_factory):
    """dtb(board) is the path of that board's blob."""
    folder = tmp_path_factory.mktemp("dtb")

    def compiled(board):
        blob = folder / f"{board}.dtb"
        if not blob.exists():
            source = BOARDS / board / "board.dts"
            subprocess.run(["dtc", "-q", "-@", "-O", "dtb", "-o", blob, source], check=True)
        return blob

    return compiled


@pytest.fixture(scope="session")
def machine(dtb):
    """machine(board) are the flags that make the exporter see that board's hardware."""

    def flags(board):
        has_tree = (BOARDS / board / "board.dts").exists()
        return [f"--path.devicetree={dtb(board)}"] if has_tree else []

    return flags


@pytest.fixture
def make_host(tmp_path, dtb):
    """make_host(board) is a fresh sysfs of that board, to be changed at will."""

    def make(board):
        sysfs = tmp_path / board
        host_tree.expand(BOARDS / board / "host.tree", sysfs)
        its_devicetree = BOARDS / board / "devicetree"
        if its_devicetree.exists():
            base = sysfs / "firmware/devicetree/base"
            base.parent.mkdir(parents=True)
            blob = dtb(its_devicetree.read_text().strip())
            subprocess.run([sys.executable, UNPACK, blob, base], check=True)
        return sysfs

    return make


def board_flags(board):
    """The flags that the board's golden files are for: which nodes are designated."""
    return shlex.split((BOARDS / board / "flags").read_text())


MACHINES = sorted([*board_names(), *HOSTS])


@pytest.fixture
def serve(machine, make_host):
    """serve(name) is an exporter that runs, and sees that one of MACHINES."""
    with contextlib.ExitStack() as stack:

        def start(name):
            sees = [f"--path.sysfs={make_host(name)}"] if name in HOSTS else machine(name)
            flags = [] if name in HOSTS else board_flags(name)
            return stack.enter_context(exporter.Exporter(*sees, *flags))

        yield start


# Both generations of Prometheus and their promtool, by these names.
PROMETHEUS_VERSIONS = ["debian", "v3"]


@pytest.fixture(scope="session")
def prometheus_program():
    """prometheus_program(version, name) is the path of that prometheus or promtool."""

    def find(version, name):
        if version == "debian":
            path = pathlib.Path("/usr/bin") / name
            hint = "apt-get install prometheus"
        else:
            assert "DTE_PEERS" in os.environ, "DTE_PEERS is not set; see tests/peers/build"
            path = pathlib.Path(os.environ["DTE_PEERS"]).resolve() / name
            hint = f"tests/peers/build prometheus {path.parent}"
        assert path.exists(), f"{path} is not there: {hint}"
        return str(path)

    return find


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory):
    """A running control_plane.ControlPlane that all tests share: leave it as it was.

    A test that stops it, freezes it or needs other flags starts its own.
    """
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as running:
        yield running


@pytest.fixture(scope="module")
def scheduler(control_plane):
    """kube-scheduler at work on control_plane."""
    control_plane.start_scheduler()
    yield
    control_plane.stop_scheduler()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """A failed test shows the end of its control plane's logs."""
    report = yield
    for value in getattr(item, "funcargs", {}).values():
        if report.failed and isinstance(value, ControlPlane):
            report.sections.append(("control plane", value.log_tails()))
    return report
