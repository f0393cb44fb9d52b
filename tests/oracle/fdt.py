"""A reader of flattened devicetrees, written from the Devicetree Specification v0.4, chapter 5.

Shares nothing with the program under test, nor with libfdt. For trees of tests:
it refuses what is broken but promises no bounds. Names and values are bytes.
"""

import struct

MAGIC = 0xD00DFEED
BEGIN_NODE, END_NODE, PROP, NOP, END = 1, 2, 3, 4, 9


class FdtError(Exception):
    """The blob is no flattened devicetree of version 16 or 17."""


class Node:
    """name with unit address ("" for the root); children in bytewise order of name."""

    __slots__ = ("name", "parent", "_path", "properties", "children")

    def __init__(self, name, parent):
        self.name = name
        self.parent = parent
        self.properties = {}  # name -> bytes, as stored
        self.children = []
        self._path = b"/" if parent is None else None

    @property
    def path(self):
        if self._path is None:
            above = b"" if self.parent.parent is None else self.parent.path
            self._path = above + b"/" + self.name
        return self._path

    def walk(self):
        """This node and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()


def parse(blob):
    """The root Node of a blob."""
    if len(blob) < 40:
        raise FdtError(f"{len(blob)} bytes are no header")
    (magic, total, off_struct, off_strings, _, version, compatible_version, _, size_strings, size_struct) = (
        struct.unpack_from(">10I", blob)
    )
    if magic != MAGIC:
        raise FdtError(f"magic is {magic:#x}")
    if version < 16 or compatible_version > min(version, 17):
        raise FdtError(f"version {version}, compatible down to {compatible_version}")
    if total > len(blob):
        raise FdtError(f"totalsize {total}, but {len(blob)} bytes")
    end = total if version < 17 else off_struct + size_struct
    if min(total, off_struct, off_strings) < 40 or max(off_struct, end, off_strings + size_strings) > total:
        raise FdtError("a block is out of bounds")
    if off_struct % 4:
        raise FdtError("the structure block is not aligned")
    strings = blob[off_strings : off_strings + size_strings]

    def string_at(data, offset, limit):
        stop = data.find(b"\0", offset, limit)
        if offset >= limit or stop < 0:
            raise FdtError(f"no string at {offset}")
        return data[offset:stop]

    names = {}  # offset in strings -> property name; they repeat a lot
    root, open_nodes, offset = None, [], off_struct
    taken = []  # for each open node: as unused_name has it
    while True:
        if offset + 4 > end:
            raise FdtError("the structure block has no end")
        token = int.from_bytes(blob[offset : offset + 4], "big")
        offset += 4
        if token == PROP:
            if offset + 8 > end or not open_nodes:
                raise FdtError("a property out of place")
            length, name_offset = struct.unpack_from(">II", blob, offset)
            offset += 8
            if offset + length > end:
                raise FdtError("a property out of bounds")
            if open_nodes[-1].children:
                raise FdtError("a property after a node")
            if name_offset not in names:
                names[name_offset] = string_at(strings, name_offset, len(strings))
            # Of two of one name Linux sees the first (drivers/of/base.c, __of_find_property).
            open_nodes[-1].properties.setdefault(names[name_offset], blob[offset : offset + length])
            offset += (length + 3) & ~3
        elif token == BEGIN_NODE:
            name = string_at(blob, offset, end)
            offset += (len(name) + 4) & ~3
            if open_nodes:
                if name in (b"", b".", b"..") or b"/" in name:
                    raise FdtError(f"a node called {name!r}")
                name = unused_name(name, taken[-1])
                node = Node(name, open_nodes[-1])
                open_nodes[-1].children.append(node)
            elif root is None:
                root = node = Node(b"", None)
            else:
                raise FdtError("a second root")
            open_nodes.append(node)
            taken.append({})
        elif token == END_NODE:
            if not open_nodes:
                raise FdtError("an end without a beginning")
            open_nodes.pop().children.sort(key=lambda node: node.name)
            taken.pop()
        elif token == END:
            if open_nodes or root is None:
                raise FdtError("an early end")
            return root
        elif token != NOP:
            raise FdtError(f"token {token:#x}")


def unused_name(name, taken):
    """Takes a name as Linux tells siblings of one name apart (drivers/of/kobj.c, safe_name).

    taken: each name that is taken, with the last number tried to make another of it.
    """
    candidate = name
    while candidate in taken:
        taken[name] += 1
        candidate = b"%s#%d" % (name, taken[name])
    taken[candidate] = 0
    return candidate


def strings_of(value):
    """A <stringlist> as a list, or None if it is none: the last string without its NUL, or one empty."""
    if not value.endswith(b"\0"):
        return None
    strings = value[:-1].split(b"\0")
    return None if b"" in strings else strings


def string_of(value):
    """A <string>, or None if it is none."""
    return value[:-1] if value.endswith(b"\0") and value.count(b"\0") == 1 else None
