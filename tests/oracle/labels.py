"""What the contract says about selection, status, label names and order. Nothing here reads a file."""

import re

import fdt

PREFIX = b"beta.devicetree.org/"
BOOKKEEPING = (b"reserved-memory", b"aliases", b"chosen", b"__symbols__", b"__fixups__", b"__local_fixups__")
RENAMED_VENDORS = {b"xlnx": b"xilinx"}
LONGEST_NAME = 63
RESERVED = b"accelerator."  # what the labels that are no compatible begin with


# --- status

def own_status(node):
    """okay, disabled, reserved, fail or other."""
    if b"status" not in node.properties:
        return "okay"
    word = fdt.string_of(node.properties[b"status"])
    if word in (b"okay", b"ok"):
        return "okay"
    if word in (b"disabled", b"reserved"):
        return word.decode()
    if word is not None and (word == b"fail" or word.startswith(b"fail-")):
        return "fail"
    return "other"


def effective_status(node):
    """Its own, or that of the nearest ancestor that is not okay."""
    while node is not None:
        status = own_status(node)
        if status != "okay":
            return status
        node = node.parent
    return "okay"


def enabled(node):
    return effective_status(node) == "okay"


# --- selection

def compatibles(node):
    """The list; [] where there is no such property; None where it is no string list."""
    if b"compatible" not in node.properties:
        return []
    return fdt.strings_of(node.properties[b"compatible"])


def below_bookkeeping(node):
    parts = node.path.split(b"/")
    return len(parts) > 2 and parts[1] in BOOKKEEPING


def glob(pattern, crosses_slash):
    some = b"." if crosses_slash else b"[^/]"
    parts = {b"*": some + b"*", b"?": some}
    text = b"".join(parts.get(bytes([byte]), re.escape(bytes([byte]))) for byte in pattern)
    return re.compile(text, re.DOTALL)


def select(root, pattern):
    """The set of paths that one -n argument means."""
    nodes = list(root.walk())
    if pattern.startswith(b"/"):
        expression = glob(pattern, crosses_slash=False)
        return {node.path for node in nodes if expression.fullmatch(node.path)}
    base, at, unit = pattern.partition(b"@")
    base_expression = re.compile(b"(?:%s)[0-9]*" % glob(base, True).pattern, re.DOTALL)
    unit_expression = glob(unit, True)
    found = set()
    for node in nodes:
        if node.parent is None or b"compatible" not in node.properties or below_bookkeeping(node):
            continue
        node_base, node_at, node_unit = node.name.partition(b"@")
        if base_expression.fullmatch(node_base):
            if not at or (node_at and unit_expression.fullmatch(node_unit)):
                found.add(node.path)
    for child in root.children:
        if child.name == b"aliases" and pattern in child.properties:
            target = fdt.string_of(child.properties[pattern])
            found |= {node.path for node in nodes if node.path == target}
    return found


def designated(root, patterns):
    """The nodes, in bytewise order of path."""
    paths = set().union(*(select(root, pattern) for pattern in patterns)) if patterns else set()
    return sorted((node for node in root.walk() if node.path in paths), key=lambda node: node.path)


# --- names

def label_name(compatible):
    """(name, None), or (None, reason)."""
    vendor, comma, rest = compatible.partition(b",")
    if comma:
        compatible = RENAMED_VENDORS.get(vendor, vendor) + comma + rest
    name = compatible.replace(b",", b"-")
    name = re.sub(rb"[^A-Za-z0-9._-]", b"_", name)
    name = re.sub(rb"^[^A-Za-z0-9]+|[^A-Za-z0-9]+\Z", b"", name)
    if not name:
        return None, "empty"
    if len(name) > LONGEST_NAME:
        return None, "too_long"
    return name, None


class Labels:
    """Label names in order, and what was rejected. Add in the contract's order."""

    def __init__(self):
        self.names = {}  # name -> the compatible that has it
        self.values = {}  # name -> value, where it is not 1
        self.rejected = {}  # compatible -> reason
        self.malformed = []  # paths

    def add(self, compatible):
        name, reason = label_name(compatible)
        if name is not None and name.startswith(RESERVED):
            reason = "collision"
        elif name is not None and self.names.setdefault(name, compatible) != compatible:
            reason = "collision"
        if reason:
            self.rejected[compatible] = reason

    def add_node(self, node):
        strings = compatibles(node)
        if strings is None:
            self.malformed.append(node.path)
        for compatible in strings or []:
            self.add(compatible)

    def key_of(self, compatible):
        """The full key of a compatible, b"" if it was rejected."""
        name, _ = label_name(compatible)
        return PREFIX + name if name is not None and self.names.get(name) == compatible else b""

    def items(self):
        """(key, value) in order."""
        return [(PREFIX + name, self.values.get(name, b"1")) for name in self.names]


def of_board(root, patterns):
    """The Labels of the root and of the designated nodes."""
    labels = Labels()
    labels.add_node(root)
    for node in designated(root, patterns):
        if node is not root and enabled(node):
            labels.add_node(node)
    return labels
