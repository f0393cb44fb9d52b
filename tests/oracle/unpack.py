#!/usr/bin/env python3
"""Writes a blob as the directories that Linux would show for it.

    unpack.py BOARD.dtb DIR    DIR must not exist

One directory (0755) per node and one file (0444; security-* 0400) per property with its raw
bytes, and in each directory the file "name" that Linux adds: base name and NUL.
"""

import os
import pathlib
import sys

import fdt

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def unpack(blob, directory):
    unpack_tree(fdt.parse(blob), directory)


def unpack_tree(root, directory):
    os.mkdir(directory, 0o755)
    _write_node(root, os.open(directory, _FOLDER))


def _write_node(node, folder):
    """Writes into the open folder, and closes it."""
    properties = node.properties
    if b"name" not in properties:
        properties = {**properties, b"name": node.name.partition(b"@")[0] + b"\0"}
    taken = dict.fromkeys(properties, 0)
    for name, value in properties.items():
        mode = 0o400 if name.startswith(b"security-") else 0o444
        file = os.open(name, _NEW_FILE, mode, dir_fd=folder)
        os.write(file, value)
        os.close(file)
    for child in node.children:
        # A node called like a property of its parent: Linux makes one of them "name#1".
        name = fdt.unused_name(child.name, taken)
        os.mkdir(name, 0o755, dir_fd=folder)
        _write_node(child, os.open(name, _FOLDER, dir_fd=folder))
    os.close(folder)


if __name__ == "__main__":
    os.umask(0o022)
    unpack(pathlib.Path(sys.argv[1]).read_bytes(), sys.argv[2])
