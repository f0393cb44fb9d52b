"""tests/SECURITY.md names tests that are there, one for each threat, and the libraries that are linked in."""

import pathlib
import re
import subprocess

TESTS = pathlib.Path(__file__).resolve().parents[1]
PAGE = (TESTS / "SECURITY.md").read_text()


def rows(first_cell):
    """The rows of all tables that begin with that header, as lists of cells."""
    found, on = [], False
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|"):
            on = False
        elif cells[0].strip("| ") == first_cell:
            on = True
        elif on and set(line) - set("|-"):
            found.append(cells)
    return found


def functions():
    text = "".join(path.read_text() for path in TESTS.glob("system/test_*.py"))
    return set(re.findall(r"^def (test_\w+)\(", text, re.M))


def unit_tests():
    text = "".join(path.read_text() for path in TESTS.rglob("*_test.cc"))
    return {f"{suite}.{name}" for suite, name in re.findall(r"^TEST(?:_[FP])?\((\w+), *(\w+)\)", text, re.M)}


def test_every_test_that_it_names_is_there():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    files = {path.stem for path in TESTS.glob("system/test_*.py")}
    assert len(named) > 40
    assert named - functions() - files == set()
    assert set(re.findall(r"`([A-Z]\w+\.[A-Z]\w+)`", PAGE)) - unit_tests() == set()


def test_every_threat_has_a_test_or_says_that_it_has_none():
    threats = rows("threat")
    assert len(threats) > 25
    for threat, _, test in threats:
        assert re.search(r"`(test_\w+|[A-Z]\w+\.\w+|tests/fuzz)`", test) or test.startswith("none: "), threat


def test_the_libraries_are_those_of_the_build():
    """Those of the section libraries of deploy/packages, with the versions that are installed."""
    for _, package, version, _ in rows("library"):
        name = re.search(r"`([^`]+)`$", package)[1]
        if package.startswith("source package"):
            continue
        installed = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name], capture_output=True, text=True, check=True)
        assert installed.stdout.partition(":")[2].startswith(version) or installed.stdout.startswith(version), package
    packages = (TESTS.parent / "deploy/packages").read_text()
    libraries = re.search(r"^\[libraries\].*?\n(.*?)\n\n", packages, re.M | re.S)[1].splitlines()
    listed = " ".join(package for _, package, _, _ in rows("library")).replace("libboost1.74-dev", "libboost-dev")
    assert [name for name in libraries if f"`{name}`" not in listed] == []
