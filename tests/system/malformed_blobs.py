"""Malformed devicetree blobs, made of real ones: every way in which a blob can be wrong, in
its header, its blocks, its tokens, its names and its strings. A seed gives the same blobs again.

Blobs are written and patched here without libfdt, which refuses to write most of them.
"""

import collections
import random
import struct

import fdt

# What is wrong with a blob; the blob.
Mutant = collections.namedtuple("Mutant", "fault blob")

HEADER = ("magic", "totalsize", "off_dt_struct", "off_dt_strings", "off_mem_rsvmap", "version",
          "last_comp_version", "boot_cpuid_phys", "size_dt_strings", "size_dt_struct")
RANDOM_OF_EACH = 6  # places, where there are too many to try all
WORDS = (0, 1, 2, 3, 4, 5, 9, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
HOSTILE = (  # text that breaks a format, a terminal or a file name where it is not escaped
    b"..", b".", b"a/b", b"../../../../etc/passwd", b"\x01\x02\x1b[31mred\x07", b"two\nlines", b"\r\n\r\nHTTP/1.1 200",
    b"\xff\xfe\x80", b"\xc3(", b"\xc2\x9b31m", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80\xae", b'quote"',
    b"back\\slash", b"brace}", b"<script>alert(1)</script>", b"&amp;", b"$(reboot)", b"`reboot`", b"%s%n", b" ", b"-",
    b"a" * 63, b"a" * 64, b"a" * 255, b"accelerator.gpu", b",", b"xlnx,", b"\x7f",
)


# --- writing

def flatten(write, version=17):
    """The blob of what write(builder) puts down."""
    builder = Builder()
    write(builder)
    structure, strings = bytes(builder.structure), bytes(builder.strings)
    off_struct = 40 + 16
    header = [fdt.MAGIC, off_struct + len(structure) + len(strings), off_struct, off_struct + len(structure), 40,
              version, 16, 0, len(strings), len(structure)]
    return struct.pack(">10I", *header) + bytes(16) + structure + strings


class Builder:
    """Tokens one after the other, as asked."""

    def __init__(self):
        self.structure, self.strings, self.names = bytearray(), bytearray(), {}

    def token(self, *words):
        self.structure += struct.pack(f">{len(words)}I", *words)

    def padded(self, data):
        self.structure += data + bytes(-len(data) % 4)

    def begin(self, name=b""):
        self.token(fdt.BEGIN_NODE)
        self.padded(name + b"\0")

    def end(self):
        self.token(fdt.END_NODE)

    def finish(self):
        self.token(fdt.END)

    def name(self, name):
        if name not in self.names:
            self.names[name] = len(self.strings)
            self.strings += name + b"\0"
        return self.names[name]

    def property(self, name, value):
        self.token(fdt.PROP, len(value), self.name(name))
        self.padded(value)

    def node(self, node, place=None, more_properties=(), last_child=None):
        """A node with all below it; `place` among them gets more."""
        is_place = node is place
        self.begin(node.name)
        for name, value in (*node.properties.items(), *(more_properties if is_place else ())):
            self.property(name, value)
        for child in node.children:
            self.node(child, place, more_properties, last_child)
        if is_place and last_child is not None:
            self.begin(last_child)
            self.property(b"compatible", b"acme,child\0")
            self.end()
        self.end()

    def root(self, compatible=b"acme,board\0"):
        self.begin()
        self.property(b"compatible", compatible)


def one_root(write):
    """A small tree whose root holds what write(builder) puts down."""
    def tree(builder):
        builder.root()
        write(builder)
        builder.end()
        builder.finish()
    return flatten(tree)


# --- patching

def patched(blob, offset, word):
    return blob[:offset] + struct.pack(">I", word & 0xFFFFFFFF) + blob[offset + 4:]


def with_header(blob, **fields):
    for name, value in fields.items():
        blob = patched(blob, 4 * HEADER.index(name), value)
    return blob


def header(blob):
    return dict(zip(HEADER, struct.unpack_from(">10I", blob)))


def tokens(blob):
    """(offset, token) of each of a good blob's."""
    fields = header(blob)
    offset, found = fields["off_dt_struct"], []
    while not found or found[-1][1] != fdt.END:
        token = int.from_bytes(blob[offset:offset + 4], "big")
        found.append((offset, token))
        offset += 4
        if token == fdt.BEGIN_NODE:
            offset = blob.index(b"\0", offset) + 1
        elif token == fdt.PROP:
            offset += 8 + int.from_bytes(blob[offset:offset + 4], "big")
        offset += -offset % 4
    return found


# --- the faults

def of_header(blob, _):
    fields = header(blob)
    size, strings = fields["totalsize"], fields["size_dt_strings"]
    values = {
        "magic": (0, 0xEDFE0DD0, 0xD00DFEEC, 0xFFFFFFFF),
        "totalsize": (0, 39, 40, size - 1, size + 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF),
        "off_dt_struct": (0, 4, 36, 41, 42, size - 4, size, size + 4, 0x7FFFFFFC, 0xFFFFFFFC, 0xFFFFFFFF),
        "off_dt_strings": (0, 39, 40, size - 1, size, size + 1, 0x7FFFFFFF, 0xFFFFFFFF),
        "off_mem_rsvmap": (0, 1, size, 0xFFFFFFFF),
        "version": (0, 1, 2, 3, 15, 16, 17, 18, 0xFFFFFFFF),
        "last_comp_version": (0, 2, 15, 16, 17, 18, 0x80000000, 0xFFFFFFFF),
        "size_dt_strings": (0, 1, strings // 2, strings - 1, strings + 1, 0x7FFFFFFF, 0xFFFFFFFF),
        "size_dt_struct": (0, 1, 4, fields["size_dt_struct"] - 4, fields["size_dt_struct"] + 4, 0x80000000, 0xFFFFFFFF),
    }
    for name, candidates in values.items():
        for value in candidates:
            yield f"header: {name} {value:#x}", with_header(blob, **{name: value})
    yield "header: version 3 alone", with_header(blob, version=3, last_comp_version=2)
    yield "header: version 18, compatible to 17", with_header(blob, version=18, last_comp_version=17)
    yield "header: version 16 and no size of the structure", with_header(blob, version=16, size_dt_struct=0xFFFFFFFF)
    yield "header: alone", blob[:40]
    yield "header: bytes behind the blob", blob + b"\xff" * 4096
    yield "header: 17 MiB", with_header(blob + bytes(17 << 20), totalsize=len(blob) + (17 << 20))


def of_overlaps(blob, _):
    fields = header(blob)
    structure, strings = fields["off_dt_struct"], fields["off_dt_strings"]
    yield "overlap: the strings in the structure", with_header(blob, off_dt_strings=structure)
    yield "overlap: the strings over its end", with_header(blob, off_dt_strings=strings - 64)
    yield "overlap: the strings over its middle", with_header(blob, off_dt_strings=(structure + strings) // 2)
    yield "overlap: the structure in the strings", with_header(blob, off_dt_struct=strings & ~3, size_dt_struct=64)
    yield "overlap: the structure in the reserve map", with_header(blob, off_dt_struct=40)
    yield "overlap: the structure over the strings", with_header(
        blob, size_dt_struct=fields["totalsize"] - structure)


def of_tokens(blob, rng):
    found = tokens(blob)
    for offset, token in rng.sample(found, RANDOM_OF_EACH):
        for word in WORDS:
            if word != token:
                yield f"token: {word:#x} instead of {token} at {offset}", patched(blob, offset, word)
    for kind, name in ((fdt.BEGIN_NODE, "begin"), (fdt.END_NODE, "end"), (fdt.PROP, "property")):
        offset = rng.choice([offset for offset, token in found if token == kind])
        yield f"token: no {name} at {offset}", patched(blob, offset, fdt.NOP)
    yield "token: no end of the tree", patched(blob, found[-1][0], fdt.NOP)
    yield "token: an end in the middle", patched(blob, rng.choice(found[1:-1])[0], fdt.END)


def of_lengths(blob, rng):
    properties = [offset for offset, token in tokens(blob) if token == fdt.PROP]
    size = header(blob)["size_dt_strings"]
    for offset in rng.sample(properties, RANDOM_OF_EACH):
        length = int.from_bytes(blob[offset + 4:offset + 8], "big")
        for word in (0, 1, length - 1, length + 1, length + 4, len(blob), 0x7FFFFFFF, 0x80000000,
                     0xFFFFFFF0, 0xFFFFFFF4, 0xFFFFFFF8, 0xFFFFFFFC, 0xFFFFFFFF):
            yield f"length: {word & 0xFFFFFFFF:#x} at {offset}", patched(blob, offset + 4, word)
        for word in (1, size - 1, size, size + 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
            yield f"name offset: {word:#x} at {offset}", patched(blob, offset + 8, word)


def of_bytes(blob, rng):
    for _ in range(8 * RANDOM_OF_EACH):
        changed = bytearray(blob)
        for _ in range(rng.choice((1, 1, 2, 8, 64))):
            changed[rng.randrange(40, len(blob))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        yield "bytes: some others", bytes(changed)
    for _ in range(RANDOM_OF_EACH):
        length = rng.randrange(4, 4096) & ~3
        source, target = (rng.randrange(40, len(blob) - length) & ~3 for _ in range(2))
        yield f"bytes: {length} of {source} again at {target}", (
            blob[:target] + blob[source:source + length] + blob[target + length:])


def of_truncations(blob, rng):
    for size in sorted({0, 1, 39, 40, 41, len(blob) - 1, *rng.sample(range(len(blob)), RANDOM_OF_EACH)}):
        yield f"truncation: to {size}", blob[:size]
        yield f"truncation: to {size}, as the header says", with_header(blob[:size].ljust(40, b"\0"), totalsize=size)


def of_names(blob, rng):
    """A child or a property of that name, in some node of the board."""
    nodes = list(fdt.parse(blob).walk())
    for name in (*HOSTILE, b"", b"a" * 256, b"a" * 70_000):
        yield f"name: a child {name[:80]!r}", board(nodes[0], rng.choice(nodes), last_child=name)
        yield f"name: a property {name[:80]!r}", board(nodes[0], rng.choice(nodes), [(name, b"acme,value\0")])


def of_strings(blob, rng):
    """Values of kept properties that are no strings, or bad ones: of the root, of a node, of /aliases."""
    nodes = list(fdt.parse(blob).walk())
    values = [text + b"\0" for text in HOSTILE] + [
        b"", b"\0", b"\0\0\0", b"acme,board", b"acme,board\0\0", b"\0acme,board\0", b"acme,a\0acme,b", b"acme\0" * 3,
        b"acme,a\0acme-a\0acme,A\0", b"okay\0okay\0", b"okay", b"ok\0", b"disabled", b"fail-\0", b"\xff" * 64 + b"\0",
    ]
    for value in values:
        name = rng.choice((b"compatible", b"compatible", b"model", b"status", b"label"))
        place = rng.choice((nodes[0], rng.choice([node for node in nodes if name in node.properties] or nodes)))
        place.properties, kept = {**place.properties, name: value}, place.properties
        yield f"string: {name.decode()} {value[:80]!r} of {place.path!r}", board(nodes[0])
        place.properties = kept
        for aliases in [node for node in nodes if node.path == b"/aliases"]:
            called = value.replace(b"\0", b"") or b"empty"
            more = [(b"gpu", value), (called, b"/\0")]
            yield f"string: an alias {value[:80]!r}", board(nodes[0], aliases, more)


def board(root, place=None, more_properties=(), last_child=None):
    return flatten(lambda b: (b.node(root, place, more_properties, last_child), b.finish()))


def of_structure(blob, _):
    root = fdt.parse(blob)

    def build(*steps):
        return flatten(lambda b: [step(b) for step in steps])

    def whole(builder):
        builder.node(root)

    def stray(builder):
        builder.property(b"compatible", b"acme,stray\0")

    def nops(builder):
        builder.token(*[fdt.NOP] * (1 << 18))

    begin, end, finish = Builder.begin, Builder.end, Builder.finish
    yield "structure: empty", build()
    yield "structure: no root", build(finish)
    yield "structure: two roots", build(whole, whole, finish)
    yield "structure: a second root that is empty", build(whole, begin, end, finish)
    yield "structure: one end too many", build(whole, end, finish)
    yield "structure: one end too few", build(begin, whole, finish)
    yield "structure: no end", build(whole)
    yield "structure: a property before the root", build(stray, whole, finish)
    yield "structure: a property behind the root", build(whole, stray, finish)
    yield "structure: a property after a child", build(begin, stray, whole, stray, end, finish)
    yield "structure: an end before the root", build(end, whole, finish)
    yield "structure: a megabyte of NOPs", build(nops, whole, nops, finish)
    yield "structure: more behind the end", build(whole, finish, whole, stray)


FAULTS = (of_header, of_overlaps, of_tokens, of_lengths, of_bytes, of_truncations, of_names, of_strings, of_structure)


def mutants(blob, seed):
    """All faults of one good blob."""
    rng = random.Random(seed)
    for fault in FAULTS:
        for what, mutant in fault(blob, rng):
            yield Mutant(what, mutant)


# --- trees that are too much, or almost

def levels(depth):
    """A chain of `depth` nodes, the root included."""
    def write(builder):
        builder.root()
        for _ in range(depth - 1):
            builder.begin(b"n")
        for _ in range(depth):
            builder.end()
        builder.finish()
    return flatten(write)


def siblings(count, name=b"n%d", compatible=b""):
    """`count` nodes in all: a root and its children, called after `name`, which may be the same."""
    def write(builder):
        for number in range(count - 1):
            builder.begin(name % number if b"%" in name else name)
            if compatible:
                builder.property(b"compatible", compatible)
            builder.end()
    return one_root(write)


def root_compatible(value):
    return flatten(lambda b: (b.root(value), b.end(), b.finish()))


def strings(count, of_each):
    """`count` short compatibles, all different, `of_each` of each node called gpu."""
    def write(builder):
        for first in range(0, count, of_each):
            builder.begin(b"gpu@%x" % first)
            words = range(first, min(first + of_each, count))
            builder.property(b"compatible", b"".join(b"!%x!\0" % number for number in words))
            builder.end()
    return one_root(write)


def deep_and_wide(depth, name_bytes, count):
    """`count` nodes with a compatible at the end of a path of `depth` long names."""
    def write(builder):
        for _ in range(depth):
            builder.begin(b"p" * name_bytes)
        for number in range(count):
            builder.begin(b"gpu@%x" % number)
            builder.property(b"compatible", b"acme,gpu\0")
            builder.end()
        for _ in range(depth):
            builder.end()
    return one_root(write)
