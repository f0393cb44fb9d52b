"""Every devicetree of Debian's arm64 and armhf kernels, as a blob and as a live tree.

Expected: tests/oracle, which shares no code with the program.
"""

import collections
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

import accelerators
import debian
import expect
import fdt
import labels
import unpack
from exporter import binary

# architecture -> meta package's flavour, at least as many blobs as 6.1 has
KERNELS = {"arm64": ("arm64", 570), "armhf": ("armmp", 890)}
PROCESSES = 2
HEADING = "Discovered the following devicetree properties:\n\n"

# Kubernetes, "Labels and Selectors", syntax and character set: an optional prefix (a DNS-1123
# subdomain of at most 253 characters) and "/", a name of at most 63, and a value of at most 63.
DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LABEL = re.compile(rf"(?P<prefix>{DNS_LABEL}(\.{DNS_LABEL})*)/{NAME}: ({NAME})?")

# An accelerator as --explain shows it, and the same of the oracle.
Found = collections.namedtuple("Found", "kind compatible address enabled")
# What was found of one blob: problems in words; Found of the program and of the facts alone.
Comparison = collections.namedtuple("Comparison", "problems program facts")


def dtbs(kernel):
    return sorted(kernel.glob("usr/lib/linux-image-*/**/*.dtb"))


def illegal_labels(output):
    """The lines of a dry run that Kubernetes would not take as labels."""
    if not output.startswith(HEADING):
        return [output[:80]]
    matches = [(line, LABEL.fullmatch(line)) for line in output.removeprefix(HEADING).split("\n")[:-1]]
    return [line for line, match in matches if not match or len(match["prefix"]) > 253]


def run(path, empty, *flags):
    """Nothing of this machine's own hardware: its place is an empty folder."""
    done = subprocess.run(
        [binary(), f"--path.devicetree={path}", f"--path.sysfs={empty}", f"--path.procfs={empty}", *flags],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
    )
    return done.returncode, done.stdout, done.stderr


def compare(blob):
    root = fdt.parse(blob.read_bytes())
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    work = tempfile.mkdtemp(dir=memory)
    try:
        os.mkdir(f"{work}/empty")
        problems = wrong_labels(blob, root, work)
        code, text, errors = run(blob, f"{work}/empty", "--explain")
    finally:
        subprocess.run(["rm", "-rf", work], check=True)  # half of the time of shutil.rmtree
    if code != 0:
        return Comparison(problems + [f"--explain: exit code {code}: {errors!r}"], [], [])
    program, labelled, unrecognised = explained(text.decode())
    problems += wrong_accelerators(root, program, labelled, unrecognised)
    return Comparison(problems, program, of_oracle(root, facts_only=True))


def wrong_labels(blob, root, work):
    """What is wrong with the program's reading of one blob, in words."""
    code, output, errors = run(blob, f"{work}/empty", "-d", "-n", "*")
    if code != 0:
        return [f"exit code {code}: {errors.decode(errors='replace').strip()}"]
    if bad := illegal_labels(output.decode(errors="replace")):
        return [f"illegal labels: {bad}"]
    expected = expect.dry_run(root, [b"*"])
    if output != expected:
        return [f"labels: {difference(expected, output)}"]
    unpack.unpack_tree(root, f"{work}/base")
    live = run(f"{work}/base", f"{work}/empty", "-d", "-n", "*")
    if live != (code, output, errors):
        return [f"as directories: exit code {live[0]}, {difference(output, live[1])} {live[2]!r}"]
    return []


def wrong_accelerators(root, program, labelled, unrecognised):
    """What is wrong with the accelerators that the program found, in words."""
    expected = of_oracle(root)
    problems = [f"not found: {found}" for found in expected if found not in program]
    problems += [f"found and none: {found}" for found in program if found not in expected]
    problems += [f"found twice: {found}" for found, times in collections.Counter(program).items() if times > 1]
    problems += [f"disabled, and with a label: {found}" for found in program
                 if not found.enabled and found.address in labelled]
    nodes = {expect.printable(node.path): node for node in root.walk()}
    problems += [f"a trap: {found}" for found in program
                 if any(accelerators.is_trap(string) for string in labels.compatibles(nodes[found.address]))]
    problems += [f"of the wrong kind: {found}" for found in program
                 if (name := re.fullmatch("(gpu|npu)[0-9]*", found.address.rpartition("/")[2].partition("@")[0]))
                 and found.kind != name[1]]
    suspicious = [(expect.printable(node.path), expect.printable(labels.compatibles(node)[0]))
                  for node in accelerators.unrecognised(root)]
    if sorted(suspicious) != sorted(unrecognised):
        problems.append(f"in no list: {sorted(unrecognised)}, expected {sorted(suspicious)}")
    return problems


def of_oracle(root, facts_only=False):
    return [Found(device.kind, expect.printable(device.compatible), expect.printable(device.address), device.enabled)
            for device in accelerators.find(root, facts_only)[0]]


def explained(text):
    """(the Found, the addresses of those with a label, (path, compatible) of what is in no list)."""
    sections = {section.partition("\n")[0]: section.partition("\n")[2] for section in text.split("\n\n")}
    found = re.findall(
        r"^  (/.*)  (\S+) \S+.*\n    matched: (.*) at \S+\n    label: (.*)\n    \[x\] described: .*\n    \[(.)\] enabled",
        sections.get("Accelerators:", ""), re.MULTILINE)
    assert len(found) == sections.get("Accelerators:", "").count("    matched: "), text
    unrecognised = sections.get("Called like an accelerator, and in no list:", "")
    return ([Found(kind, compatible, address, enabled == "x") for address, kind, compatible, _, enabled in found],
            {address for address, _, _, label, _ in found if label != "none"},
            [tuple(line.strip().split(": ", 1)) for line in unrecognised.splitlines()])


def difference(expected, found):
    expected, found = expected.split(b"\n"), found.split(b"\n")
    missing = [line.decode() for line in expected if line not in found]
    surplus = [line.decode(errors="replace") for line in found if line not in expected]
    return f"missing {missing}, surplus {surplus}" if missing or surplus else "another order"


@functools.cache
def comparisons(arch):
    """Blob -> Comparison, over the newest kernel of that architecture."""
    flavour, at_least = KERNELS[arch]
    blobs = dtbs(debian.linux_image(flavour, arch))
    assert len(blobs) >= at_least
    with multiprocessing.Pool(PROCESSES) as pool:
        return dict(zip(blobs, pool.map(compare, blobs, chunksize=16)))


@pytest.mark.parametrize("arch", KERNELS)
def test_every_devicetree_of_the_kernel_is_read(arch):
    found = comparisons(arch)
    wrong = [f"{blob.parent.name}/{blob.name}: {problem}"
             for blob, comparison in found.items() for problem in comparison.problems]
    assert not wrong, f"{len(wrong)} problems in {len(found)} blobs:\n" + "\n".join(wrong[:50])


def test_what_differs_from_the_facts_is_in_the_oracles_table(capsys):
    program, facts, enabled = collections.Counter(), collections.Counter(), collections.Counter()
    surplus, missing = set(), set()
    found = [comparison for arch in KERNELS for comparison in comparisons(arch).values()]
    for comparison in found:
        program.update(device[:2] for device in comparison.program)
        facts.update(device[:2] for device in comparison.facts)
        enabled.update(device[:2] for device in comparison.program if device.enabled)
        surplus |= {device[:2] for device in set(comparison.program) - set(comparison.facts)}
        missing |= {device[:2] for device in set(comparison.facts) - set(comparison.program)}
    table = {(kind, compatible.decode()): why
             for compatible, (kind, why) in accelerators.BEYOND_THE_FACTS.items()}
    with capsys.disabled():
        print(f"\nAccelerators in {len(found)} devicetrees, by the program and by the facts alone:\n\n"
              f"{'kind':5} {'compatible':27} program facts enabled")
        for kind, compatible in sorted(program | facts):
            key = kind, compatible
            print(f"{kind:5} {compatible:27} {program[key]:7} {facts[key]:5} {enabled[key]:7}  {table.get(key, '')}")
        print(f"{'all':33} {program.total():7} {facts.total():5} {enabled.total():7}")
    assert not missing, "the program does not know what the facts know"
    assert surplus == set(table), "a difference is not in the table, or an entry of it is of no use"


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
