"""Malformed and oversized devicetrees: the right tree, or one clear line, with little memory and time.

Blobs: malformed_blobs.py, of six boards of Debian's kernels; another seed: DTE_SEED=N. Expected:
the reader of tests/oracle, which shares no code with the program, and the bounds of dt/README.md.
"""

import functools
import multiprocessing
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))

import debian
import expect
import fdt
import malformed_blobs
import unpack
from exporter import Exporter, binary

BOARDS = {  # among them the longest path and the longest property of all
    "tegra210-p3450-0000": "arm64", "imx8mp-evk": "arm64", "rk3399-gru-scarlet-inx": "arm64",
    "zynqmp-zcu102-revB": "arm64", "am572x-idk": "armhf", "omap5-uevm": "armhf",
}
FLAVOURS = {"arm64": "arm64", "armhf": "armmp"}
BOARDS_PER_FAULT = 2
SEED = int(os.environ.get("DTE_SEED", "1"))
PROCESSES = 2

# What no devicetree may cost: the kernel ends or refuses what goes beyond.
MEMORY_BYTES = 64 << 20
CPU_SECONDS = 2
HANG_SECONDS = 120  # of the clock: a shared machine

README = pathlib.Path(__file__).resolve().parents[2] / "dt/README.md"
KEPT = (b"compatible", b"label", b"model", b"status")

ERROR = re.compile(r"devicetree-exporter: --path\.devicetree: \S+: byte \d+: [ -~]+; expected a directory or a "
                   r"\.dtb file\n")
LIVE_ERROR = re.compile(r"devicetree-exporter: --path\.devicetree: [ -~]+; expected a directory or a \.dtb file\n")


@functools.cache
def limits():
    """kMaxDepth -> 64 and so on, as dt/README.md promises them."""
    rows = re.findall(r"^\| `(kMax\w+)` \| ([0-9,]+) \|", README.read_text(), re.MULTILINE)
    return {name: int(number.replace(",", "")) for name, number in rows}


@functools.cache
def real_blob(board):
    kernel = debian.linux_image(FLAVOURS[BOARDS[board]], BOARDS[board])
    return next(kernel.glob(f"usr/lib/linux-image-*/**/{board}.dtb"))


# --- running

@functools.cache
def is_sanitized(program):
    return any(name in pathlib.Path(program).read_bytes() for name in (b"__asan_init", b"__tsan_init"))


def within_limits(program, *arguments):
    # A sanitizer's own memory is more than that.
    limit = [] if is_sanitized(program) else ["prlimit", f"--as={MEMORY_BYTES}", f"--cpu={CPU_SECONDS}"]
    done = subprocess.run([*limit, program, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=HANG_SECONDS, check=False)
    return done.returncode, done.stdout, done.stderr


def run(path, empty, *flags):
    return within_limits(binary(), f"--path.devicetree={path}", f"--path.sysfs={empty}", f"--path.procfs={empty}",
                         *flags)


def stable_series(metrics):
    """The series that do not differ from run to run, without the models of accelerators: as expect.metrics."""
    varying = (b"#", b"devicetree_collector_duration_seconds", b"devicetree_snapshot_timestamp_seconds",
               b"devicetree_exporter_build_info")
    lines = [re.sub(rb'(accelerator_info.*?),model="[^"]*"', rb"\1", line)
             for line in metrics.splitlines(True) if not line.startswith(varying)]
    return b"".join(sorted(lines))


# --- what is expected

def is_within_bounds(root):
    """As dt/README.md counts them."""
    bound = limits()
    nodes, strings, total = 0, 0, 0
    todo = [(root, 1)]
    while todo:
        node, level = todo.pop()
        nodes += 1
        if level > bound["kMaxDepth"] or len(node.name) > bound["kMaxNameBytes"]:
            return False
        path = len(node.path) if node.parent is not None else 0
        total += len(node.name) + path
        for name, value in node.properties.items():
            if name in KEPT or (node.path == b"/aliases" and name != b"name"):
                if len(value) > bound["kMaxPropertyBytes"]:
                    return False
                strings += value.count(b"\0")
                total += len(name) + len(value) + path * value.count(b"\0")
        todo += [(child, level + 1) for child in node.children]
    return nodes <= bound["kMaxNodes"] and strings <= bound["kMaxStrings"] and total <= bound["kMaxTreeBytes"]


def expected_tree(blob):
    """The oracle's root, or None: the blob is none, or passes a bound."""
    if len(blob) > limits()["kMaxFdtBytes"]:
        return None
    try:
        root = fdt.parse(blob)
    except fdt.FdtError:
        return None
    return root if is_within_bounds(root) else None


def wrong_refusal(result, pattern):
    code, output, errors = result
    if code == 2 and not output and pattern.fullmatch(errors.decode("utf-8", "replace")):
        return []
    return [f"exit code {code}, {output[:200]!r}, {errors[:500]!r}; expected 2 and one line"]


def wrong_tree(result, root, metrics):
    """What is wrong with a dry run with -n '*', and with the metrics of the same."""
    found = (*result, metrics)
    wanted = (0, expect.dry_run(root, [b"*"]), b"", expect.metrics(root, [b"*"]))
    return [f"{what}: {difference(one, other)}"
            for what, one, other in zip(("exit code", "dry run", "stderr", "metrics"), found, wanted) if one != other]


def difference(found, expected):
    if not isinstance(found, bytes):
        return f"{found}, expected {expected}"
    found, expected = found.split(b"\n"), expected.split(b"\n")
    return (f"missing {[line for line in expected if line not in found][:5]}, "
            f"surplus {[line for line in found if line not in expected][:5]}")


def problems(blob):
    """What is wrong with the program's readings of a blob, as it is and as a live tree, in words."""
    root = expected_tree(blob)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    work = tempfile.mkdtemp(dir=memory)
    try:
        os.mkdir(f"{work}/empty")
        pathlib.Path(f"{work}/blob").write_bytes(blob)
        dry_run = run(f"{work}/blob", f"{work}/empty", "-d", "-n", "*")
        if root is None:
            return wrong_refusal(dry_run, ERROR)
        run(f"{work}/blob", f"{work}/empty", "--once", f"--textfile.directory={work}", "-n", "*")
        (textfile,) = [*pathlib.Path(work).glob("*.prom")] or [pathlib.Path("/dev/null")]
        found = wrong_tree(dry_run, root, stable_series(textfile.read_bytes()))
        try:
            unpack.unpack_tree(root, f"{work}/base")
        except (OSError, ValueError):
            return found  # no file can be called so
        live = run(f"{work}/base", f"{work}/empty", "-d", "-n", "*")
        return found if live == dry_run else [*found, f"as directories: {live!r}"[:1000]]
    finally:
        subprocess.run(["rm", "-rf", work], check=True)  # half of the time of shutil.rmtree


def problems_of_board(arguments):
    number, board = arguments
    mutants = malformed_blobs.mutants(real_blob(board).read_bytes(), f"{SEED} {board}")
    kept = len(BOARDS) // BOARDS_PER_FAULT
    counts, found = {}, []
    for index, mutant in enumerate(mutants):
        if index % kept == number % kept:
            fault = mutant.fault.partition(":")[0]
            counts[fault] = counts.get(fault, 0) + 1
            found += [f"{board}: {mutant.fault}: {problem}" for problem in problems(mutant.blob)]
    return counts, found


# --- the tests

def test_a_malformed_blob_is_the_right_tree_or_one_line(capsys):
    with multiprocessing.Pool(PROCESSES) as pool:
        results = pool.map(problems_of_board, enumerate(BOARDS), chunksize=1)
    with capsys.disabled():
        for board, (counts, _) in zip(BOARDS, results):
            print(f"\n{board}: {counts}", end="")
    assert len({fault for counts, _ in results for fault in counts}) >= 10, "a class of faults is missing"
    wrong = [problem for _, found in results for problem in found]
    assert not wrong, f"seed {SEED}: {len(wrong)} problems:\n" + "\n".join(wrong[:20])


@pytest.mark.parametrize("board", BOARDS)
def test_every_truncation_of_a_real_blob_is_refused_or_the_whole_tree(board):
    program = pathlib.Path(binary()).parent / "tests/system/every_truncation"
    assert program.exists(), f"{program}: cmake --build --preset release --target every_truncation"
    blob = real_blob(board)
    done = subprocess.run([program, blob], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{blob.stat().st_size} truncations" in done.stdout


# Each just within a bound, and the same beyond it.
BOUNDS = {
    "depth": (lambda: malformed_blobs.levels(limits()["kMaxDepth"]),
              lambda: malformed_blobs.levels(limits()["kMaxDepth"] + 1)),
    "absurd depth": (lambda: malformed_blobs.levels(2), lambda: malformed_blobs.levels(200_000)),
    "nodes": (lambda: malformed_blobs.siblings(limits()["kMaxNodes"]),
              lambda: malformed_blobs.siblings(limits()["kMaxNodes"] + 1)),
    "100,000 siblings": (lambda: malformed_blobs.siblings(1_000), lambda: malformed_blobs.siblings(100_000)),
    "siblings of one name": (lambda: malformed_blobs.siblings(2_000, b"gpu"),
                             lambda: malformed_blobs.siblings(100_000, b"gpu")),
    "name": (lambda: malformed_blobs.siblings(2, b"n" * limits()["kMaxNameBytes"]),
             lambda: malformed_blobs.siblings(2, b"n" * (limits()["kMaxNameBytes"] + 1))),
    "property": (lambda: malformed_blobs.root_compatible(b"a" * (limits()["kMaxPropertyBytes"] - 1) + b"\0"),
                 lambda: malformed_blobs.root_compatible(b"a" * limits()["kMaxPropertyBytes"] + b"\0")),
    "1 MB compatible": (lambda: malformed_blobs.root_compatible(b"a\0"),
                        lambda: malformed_blobs.root_compatible(b"acme,board\0" * 100_000)),
    "strings": (lambda: malformed_blobs.strings(limits()["kMaxStrings"] - 1, 8),
                lambda: malformed_blobs.strings(limits()["kMaxStrings"], 8)),
    "bytes in all": (lambda: malformed_blobs.deep_and_wide(60, 100, 150),
                     lambda: malformed_blobs.deep_and_wide(60, 100, 180)),
}


# What no directory can be, or takes long to write; "nodes" and "depth" are the same.
NO_DIRECTORY = ("absurd depth", "name", "100,000 siblings", "siblings of one name")


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_tree_within_a_bound_is_read_and_one_beyond_it_refused(bound, tmp_path):
    within, beyond = (make() for make in BOUNDS[bound])
    assert expected_tree(within) is not None and expected_tree(beyond) is None
    assert problems(within) == []
    assert problems(beyond) == []
    if bound not in NO_DIRECTORY:
        unpack.unpack_tree(fdt.parse(beyond), tmp_path / "base")
        assert wrong_refusal(run(tmp_path / "base", tmp_path, "-d", "-n", "*"), LIVE_ERROR) == []


# The trees within the bounds that cost the most: each string is an output several times over.
COSTLY = {
    "the root's strings": lambda: malformed_blobs.root_compatible(
        b"".join(b"%x\0" % number for number in range(1_600))),
    "strings that are rejected": lambda: malformed_blobs.strings(limits()["kMaxStrings"] - 1, 1),
    "strings of few nodes": lambda: malformed_blobs.strings(limits()["kMaxStrings"] - 1, 1_000),
    "accelerators": lambda: malformed_blobs.siblings(limits()["kMaxNodes"] - 1, b"gpu@%x", b"nvidia,gm20b\0"),
    "what is called like one": lambda: malformed_blobs.siblings(limits()["kMaxNodes"] - 1, b"npu@%x", b"acme,npu\0"),
    "long paths": lambda: malformed_blobs.deep_and_wide(60, 100, 150),
}
USES = {
    "dry run": ["-d"], "dry run of all": ["-d", "-n", "*"], "explanation": ["--explain", "-n", "*"],
    "snapshot": ["--snapshot", "-"], "textfile": ["--once", "-n", "*"],
}


@pytest.mark.parametrize("tree", COSTLY)
def test_no_tree_within_the_bounds_costs_much(tree, tmp_path):
    blob = COSTLY[tree]()
    assert expected_tree(blob) is not None
    path = tmp_path / "blob"
    path.write_bytes(blob)
    for use, flags in USES.items():
        textfile = [f"--textfile.directory={tmp_path}"] if "--once" in flags else []
        code, _, errors = run(path, tmp_path / "none", *flags, *textfile)
        assert code == 0, f"{use}: {errors[:500]!r}"


@pytest.mark.parametrize("tree", COSTLY)
def test_no_tree_within_the_bounds_makes_a_server_large(tree, tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(COSTLY[tree]())
    with Exporter(f"--path.devicetree={path}", "-n", "*") as it:
        for page in ("/", "/metrics", "/inventory.json"):
            for headers in ({}, {"Accept-Encoding": "gzip"}):
                assert it.get(page, headers).status == 200
        status = pathlib.Path(f"/proc/{it.pid}/status").read_text()
        most = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) << 10
        assert is_sanitized(binary()) or most <= MEMORY_BYTES, f"{most} bytes"
