"""The static programs of all three architectures: hardened, reproducible, and right under qemu-user.

Environment: DTE_BINARY (amd64), DTE_ARM64_BINARY, DTE_ARMHF_BINARY, each in its build folder.
"""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

import scraped
from conftest import BOARDS, HOSTS, board_flags, board_names
from exporter import Exporter, wait_until

REPOSITORY = BOARDS.parent.parent
VARIABLES = {"amd64": "DTE_BINARY", "arm64": "DTE_ARM64_BINARY", "armhf": "DTE_ARMHF_BINARY"}
EMULATORS = {"arm64": "qemu-aarch64-static", "armhf": "qemu-arm-static"}
EMULATED_SECONDS = 120


def program(arch):
    path = os.environ.get(VARIABLES[arch])
    assert path, f"{VARIABLES[arch]} is not set: the path of the static devicetree-exporter for {arch}"
    return pathlib.Path(path).resolve(strict=True)


@pytest.fixture(params=VARIABLES)
def arch(request):
    return request.param


@pytest.fixture
def binary(arch):
    return program(arch)


def readelf(path, *options):
    return subprocess.run(
        ["readelf", "-W", *options, path], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def segments(binary):
    """{type: flags} of the program headers; LOAD has a list of flags."""
    found = {}
    for line in readelf(binary, "-l").splitlines():
        if match := re.match(r"  (\w+) +(?:0x\w+ ){5}([RWE ]{3}) ", line):
            found.setdefault(match[1], []).append(match[2].replace(" ", ""))
    assert "LOAD" in found, binary
    return found


def test_needs_nothing(binary):
    assert "INTERP" not in segments(binary)
    assert "(NEEDED)" not in readelf(binary, "-d")


def test_is_stripped(binary):
    assert ".symtab" not in readelf(binary, "-S")


def test_loads_anywhere(arch, binary):
    """Position-independent; but for armhf, whose C library cannot start such a static program."""
    is_independent = "PIE" in readelf(binary, "-d")
    assert is_independent == (arch != "armhf")
    assert re.search(r"Type: +(\w+)", readelf(binary, "-h"))[1] == ("EXEC" if arch == "armhf" else "DYN")


def test_no_memory_is_writable_and_executable(binary):
    found = segments(binary)
    assert found["GNU_STACK"] == ["RW"]
    assert [flags for flags in found["LOAD"] if "W" in flags and "E" in flags] == []
    assert "E" not in "".join(flags for flags in found["LOAD"] if "W" in flags)
    assert [flags for flags in found["LOAD"] if "E" in flags] == ["RE"], "code apart from constants"


def test_relocations_are_read_only(arch, binary):
    assert "GNU_RELRO" in segments(binary)
    if arch != "armhf":  # not position-independent: without a dynamic section, nothing is bound later
        assert re.search(r"FLAGS_1\).*\bNOW\b", readelf(binary, "-d"))


def called(library):
    """The names that this library's objects leave to others."""
    rows = (line.split() for line in readelf(library, "-s").splitlines())
    return {row[7] for row in rows if len(row) > 7 and row[6] == "UND"}


# Every library that we compile: our own, and others' that we compile in.
LIBRARIES = ["dt/libdt.a", "exporter/libexporter_lib.a", "exporter/third_party/libprometheus_cpp_core.a"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_compiled_code_guards_its_stack(binary, library):
    assert "__stack_chk_fail" in called(binary.parent / library)


def test_compiled_code_checks_what_it_copies_and_indexes(binary):
    names = called(binary.parent / "exporter/libexporter_lib.a")
    assert {name for name in names if name.endswith("_chk")}, "_FORTIFY_SOURCE"
    assert "_ZSt21__glibcxx_assert_failPKciS0_S0_" in names, "_GLIBCXX_ASSERTIONS"


def test_names_no_folder_of_its_build(binary):
    """The bytes do not depend on where it was built: test_builds_the_same_again is the proof for one."""
    content = binary.read_bytes()
    assert str(REPOSITORY).encode() not in content
    assert str(binary.parent).encode() not in content


def test_builds_the_same_again(tmp_path):
    """arm64, from a copy of this checkout in another folder, at another time."""
    first = program("arm64")
    copy = tmp_path / "elsewhere"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (REPOSITORY / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, copy / name)
    for needed in ["sources", "sysroot/arm64"]:  # as links: there is a lot of it
        (copy / "build" / needed).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-al", REPOSITORY / "build" / needed, copy / "build" / needed], check=True)
    environment = {**os.environ, "GIT_DIR": str(REPOSITORY / ".git")}  # for the revision
    for command in [["--preset", "release-arm64"], ["--build", "--preset", "release-arm64", "-j", "3"]]:
        subprocess.run(["cmake", *command], cwd=copy, env=environment, check=True, stdout=subprocess.DEVNULL)
    second = copy / "build/release-arm64/devicetree-exporter"
    assert second.read_bytes() == first.read_bytes()


@pytest.fixture(params=EMULATORS)
def emulated(request, monkeypatch):
    """That architecture's emulator. DTE_BINARY is its program then."""
    monkeypatch.setenv("DTE_BINARY", str(program(request.param)))
    return EMULATORS[request.param]


def labels(emulator, flags, sysfs):
    return subprocess.run(
        [emulator, os.environ["DTE_BINARY"], "-d", f"--path.sysfs={sysfs}", *flags],
        check=True, stdout=subprocess.PIPE, text=True, timeout=EMULATED_SECONDS,
    ).stdout  # fmt: skip


@pytest.mark.parametrize("board", board_names())
def test_emulated_gives_the_boards_labels(emulated, machine, board, tmp_path):
    expected = (BOARDS / board / "expected/dry_run.txt").read_text()
    assert labels(emulated, [*machine(board), *board_flags(board)], tmp_path) == expected


@pytest.mark.parametrize("host", HOSTS)
def test_emulated_serves_the_hosts_accelerators(emulated, make_host, host):
    expected = scraped.expected_rows((BOARDS / host / "expected/accelerators.txt").read_text())
    with Exporter(f"--path.sysfs={make_host(host)}", under=[emulated]) as exporter:
        wait_until(lambda: exporter.get("/-/ready").status == 200, "ready", EMULATED_SECONDS)
        assert scraped.accelerators(exporter.metrics()) == expected
