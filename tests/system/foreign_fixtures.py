#!/usr/bin/env python3
"""Other projects' sysfs fixtures, taken from copies outside the repository.

    foreign_fixtures.py node_exporter|nfd DIR    puts the sysfs tree into DIR

node_exporter is a peer of ours (tests/peers/node_exporter): its module, which Go's module
cache holds anyway, brings collector/fixtures/sys.ttar along. NFD is no peer: its
testdata/source/pci is taken from the folder that $DTE_NFD_TESTDATA names, else from
$DTE_CACHE/foreign/nfd (DTE_CACHE: build/cache); put a copy of that folder there.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

from debian import CACHE, REPOSITORY


class Missing(Exception):
    """There is no copy on this machine; the message says how to get one."""


def node_exporter(directory):
    """collector/fixtures/sys.ttar, unpacked into `directory`; returns the sysfs."""
    archive = _module("node_exporter", "github.com/prometheus/node_exporter") / "collector/fixtures/sys.ttar"
    unpack_ttar(archive.read_bytes(), pathlib.Path(directory))
    return pathlib.Path(directory) / "sys"


def nfd(directory):
    """testdata/source/pci/rootfs-1, copied into `directory`; returns the sysfs."""
    source = pathlib.Path(os.environ.get("DTE_NFD_TESTDATA") or CACHE / "foreign/nfd")
    if not (source / "rootfs-1/sys").is_dir():
        raise Missing(f"no copy of NFD's testdata/source/pci in {source}; or name another in DTE_NFD_TESTDATA")
    shutil.copytree(source / "rootfs-1", directory, symlinks=True, dirs_exist_ok=True)
    return pathlib.Path(directory) / "sys"


def _module(peer, module):
    """The folder of the version of `module` that tests/peers/<peer>/go.mod pins."""
    go = subprocess.run([REPOSITORY / "tests/peers/fetch-go"], stdout=subprocess.PIPE, text=True, check=False)
    if go.returncode != 0:
        raise Missing("tests/peers/fetch-go finds no go")
    answer = subprocess.run(
        [pathlib.Path(go.stdout.strip()) / "go", "mod", "download", "-json", module],
        cwd=REPOSITORY / "tests/peers" / peer,
        env={**os.environ, "GOWORK": "off", "GOFLAGS": "", "GOTOOLCHAIN": "auto"},
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if answer.returncode != 0:
        raise Missing(f"go mod download {module}: {answer.stdout.strip()}")
    return pathlib.Path(json.loads(answer.stdout)["Dir"])


def unpack_ttar(archive, directory):
    """The text archives of Prometheus' projects: names, links, contents and modes, a line each.

    In a file's lines NULLBYTE stands for a NUL, and EOF at the end for no newline there; a
    backslash before either word makes it a plain one.
    """
    lines = iter(archive.split(b"\n"))
    path = None
    for line in lines:
        keyword, _, value = line.decode().partition(": ")
        if keyword in ("Path", "Directory"):
            path = directory / value
            assert not value.startswith("/") and ".." not in path.parts, value
            (path if keyword == "Directory" else path.parent).mkdir(parents=True, exist_ok=True)
        elif keyword == "SymlinkTo":
            path.symlink_to(value)
        elif keyword == "Lines":
            path.write_bytes(b"".join(_ttar_line(next(lines)) for _ in range(int(value))))
        elif keyword == "Mode":
            path.chmod(int(value, 8) | 0o200)  # the tests' own copy: they may delete it
        else:
            assert not line or line.startswith(b"#"), line


def _ttar_line(line):
    ended = re.search(rb"(?<!\\)EOF", line)
    line = re.sub(rb"(?<!\\)EOF", b"", line)
    line = re.sub(rb"(?<!\\)NULLBYTE", b"\0", line)
    line = line.replace(b"\\NULLBYTE", b"NULLBYTE").replace(b"\\EOF", b"EOF")
    return line if ended else line + b"\n"


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("node_exporter", "nfd"):
        sys.exit(__doc__.strip())
    try:
        print({"node_exporter": node_exporter, "nfd": nfd}[sys.argv[1]](sys.argv[2]))
    except Missing as error:
        sys.exit(str(error))
