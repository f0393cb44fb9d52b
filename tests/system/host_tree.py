#!/usr/bin/env python3
"""Expands a text file into a directory tree that looks like a host's sysfs.

    host_tree.py host.tree DIR

One entry a line; folders above it are made as needed; later lines see earlier ones:

    # a comment
    bus/usb/devices/                    a folder
    class/drm/version = drm 1.1.0       a file with that text and a newline
    devices/x/name = gpu\\0\\c            escapes \\0 \\n \\\\ \\xNN; \\c at the end: no newline
    bus/pci/devices/a -> ../../x        a symlink
    devices/pci0000:00/0000:00:02.0/
      vendor = 0x8086                   indented: inside the last folder that is not indented

exporter/host_tree.h says more about it. A second implementation, in part: it trusts the text.
"""

import os
import pathlib
import re
import sys

_LINE = re.compile(
    r"(?P<folder>\S+)/|(?P<file>\S+) =(?: (?P<content>.*))?|(?P<link>\S+) -> (?P<target>\S+)"
)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.|$)", re.DOTALL)
_ESCAPES = {b"0": b"\0", b"n": b"\n", b"\\": b"\\"}


def expand(text_file, directory):
    """Into `directory`, which may exist; what is there already stays."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    folder = directory
    lines = pathlib.Path(text_file).read_text("utf-8").split("\n")
    for number, line in enumerate(lines, 1):
        entry = line.lstrip(" ")
        if not entry or entry.startswith("#"):
            continue
        if entry == line:
            folder = directory
        try:
            made = _make(entry, folder)
        except ValueError as error:
            raise ValueError(f"{text_file}:{number}: {error}: {line}") from None
        if made.is_dir() and not made.is_symlink() and entry == line:
            folder = made


def _make(entry, folder):
    found = _LINE.fullmatch(entry)
    if not found:
        raise ValueError("expected 'path/', 'path = content' or 'path -> target'")
    name = _unescape(found["folder"] or found["file"] or found["link"])
    path = folder / os.fsdecode(name)
    if name.startswith(b"/") or ".." in path.parts:
        raise ValueError("the path leads outside")
    (path if found["folder"] else path.parent).mkdir(parents=True, exist_ok=True)
    if found["file"]:
        path.write_bytes(_content(found["content"] or ""))
    elif found["link"]:
        path.symlink_to(os.fsdecode(_unescape(found["target"])))
    return path


def _content(text):
    without_newline = re.search(r"(?<!\\)(?:\\\\)*\\c$", text)
    return _unescape(text[:-2]) if without_newline else _unescape(text) + b"\n"


def _unescape(text):
    def byte(match):
        escape = match[1]
        if escape.startswith(b"x") and len(escape) == 3:
            return bytes([int(escape[1:], 16)])
        if escape not in _ESCAPES:
            raise ValueError("expected one of the escapes \\0 \\n \\\\ \\xNN, and \\c at the end")
        return _ESCAPES[escape]

    return _ESCAPE.sub(byte, text.encode())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip())
    expand(*sys.argv[1:])
