"""Every devicetree of Debian's arm64 and armhf kernels, as a blob and as a live tree.

Expected: tests/oracle, which shares no code with the program.
"""

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
import unpack
from exporter import binary

# meta package's flavour, Debian's architecture, at least as many blobs as 6.1 has
KERNELS = [("arm64", "arm64", 570), ("armmp", "armhf", 890)]
PROCESSES = 2
WITH_ACCELERATORS = False  # the program has no catalogue yet; then True
HEADING = "Discovered the following devicetree properties:\n\n"

# Kubernetes, "Labels and Selectors", syntax and character set: an optional prefix (a DNS-1123
# subdomain of at most 253 characters) and "/", a name of at most 63, and a value of at most 63.
DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LABEL = re.compile(rf"(?P<prefix>{DNS_LABEL}(\.{DNS_LABEL})*)/{NAME}: ({NAME})?")


def dtbs(kernel):
    return sorted(kernel.glob("usr/lib/linux-image-*/**/*.dtb"))


def illegal_labels(output):
    """The lines of a dry run that Kubernetes would not take as labels."""
    if not output.startswith(HEADING):
        return [output[:80]]
    matches = [(line, LABEL.fullmatch(line)) for line in output.removeprefix(HEADING).split("\n")[:-1]]
    return [line for line, match in matches if not match or len(match["prefix"]) > 253]


def dry_run(path):
    run = subprocess.run(
        [binary(), f"--path.devicetree={path}", "-d", "-n", "*"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
    )
    return run.returncode, run.stdout, run.stderr


def wrong_with(blob):
    """What is wrong with the program's reading of one blob, in words; None if nothing is."""
    code, output, errors = dry_run(blob)
    if code != 0:
        return f"exit code {code}: {errors.decode(errors='replace').strip()}"
    if bad := illegal_labels(output.decode(errors="replace")):
        return f"illegal labels: {bad}"
    root = fdt.parse(blob.read_bytes())
    expected = expect.dry_run(root, [b"*"], with_accelerators=WITH_ACCELERATORS)
    if output != expected:
        return difference(expected, output)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    work = tempfile.mkdtemp(dir=memory)
    try:
        unpack.unpack_tree(root, f"{work}/base")
        live = dry_run(f"{work}/base")
    finally:
        subprocess.run(["rm", "-rf", work], check=True)  # half of the time of shutil.rmtree
    if live != (code, output, errors):
        return f"as directories: exit code {live[0]}, {difference(output, live[1])} {live[2]!r}"
    return None


def difference(expected, found):
    expected, found = expected.split(b"\n"), found.split(b"\n")
    missing = [line.decode() for line in expected if line not in found]
    surplus = [line.decode(errors="replace") for line in found if line not in expected]
    return f"missing {missing}, surplus {surplus}" if missing or surplus else "another order"


@pytest.mark.parametrize("flavour, arch, at_least", KERNELS, ids=[arch for _, arch, _ in KERNELS])
def test_every_devicetree_of_the_kernel_is_read(flavour, arch, at_least):
    blobs = dtbs(debian.linux_image(flavour, arch))
    assert len(blobs) >= at_least
    with multiprocessing.Pool(PROCESSES) as pool:
        found = pool.map(wrong_with, blobs, chunksize=16)
    wrong = [f"{blob.parent.name}/{blob.name}: {what}" for blob, what in zip(blobs, found) if what]
    print(f"{arch}: {len(blobs)} blobs, {len(wrong)} wrong")
    assert not wrong, f"{len(wrong)} of {len(blobs)} blobs:\n" + "\n".join(wrong[:50])


@pytest.mark.parametrize("label, legal", [
    ("beta.devicetree.org/nvidia-gm20b: 1", True),
    ("beta.devicetree.org/A.b_c-9: 1", True),
    (f"beta.devicetree.org/{'a' * 63}: 1", True),
    (f"beta.devicetree.org/{'a' * 64}: 1", False),
    ("beta.devicetree.org/-a: 1", False),
    ("beta.devicetree.org/a_: 1", False),
    ("beta.devicetree.org/a+b: 1", False),
    ("beta.devicetree.org/a,b: 1", False),
    ("beta.devicetree.org/: 1", False),
    ("Beta.devicetree.org/a: 1", False),
    (f"{'a.' * 126}a/a: 1", True),
    (f"{'a.' * 127}a/a: 1", False),
])
def test_the_judge_of_labels_knows_good_from_bad(label, legal):
    assert (illegal_labels(f"{HEADING}{label}\n") == []) == legal
