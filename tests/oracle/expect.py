#!/usr/bin/env python3
"""Prints what devicetree-exporter has to say about a board, as the contract has it.

    expect.py BOARD.dtb [-n NAME...]    a board's blob
    expect.py none [-n NAME...]         a machine without a devicetree
    expect.py ... --write DIR           into DIR/dry_run.txt and so on, not to stdout
"""

import argparse
import os
import pathlib
import sys
import unicodedata

import accelerators
import fdt
import labels

HEADING = b"Discovered the following devicetree properties:\n\n"
NOTHING = b"This machine has no devicetree.\n"
COLLECTORS = ("devicetree", "pci", "usb", "device_nodes")
REASONS = ("collision", "empty", "malformed", "too_long")
STATUSES = ("okay", "disabled", "reserved", "fail", "other")
# What firmware fills in differs from board to board of one kind.
NOT_IN_FINGERPRINT = (b"chosen", b"aliases", b"reserved-memory", b"memory",
                      b"__symbols__", b"__fixups__", b"__local_fixups__")


def has_devicetree(root):
    return root is not None and b"compatible" in root.properties


# --- the dry run

def all_labels(root, patterns):
    board = labels.of_board(root, patterns)
    accelerators.add_labels(board, root)
    return board


def dry_run(root, patterns):
    if not has_devicetree(root):
        return NOTHING
    board = all_labels(root, patterns)
    return HEADING + b"".join(b"%s: %s\n" % item for item in board.items())


# --- the metrics

def printable(data):
    """Bytes that are no UTF-8, and of characters that control (also U+0080 to U+009F) or turn the
    direction of writing, as \\xNN."""
    text = data.decode("utf-8", "backslashreplace")
    if text.isprintable() and text.isascii():
        return text
    return "".join("".join(f"\\x{byte:02x}" for byte in c.encode()) if is_unprintable(c) else c for c in text)


def is_unprintable(c):
    directions = {"RLE", "LRE", "PDF", "RLO", "LRO", "RLI", "LRI", "FSI", "PDI"}
    is_mark = c in "\N{ARABIC LETTER MARK}\N{LEFT-TO-RIGHT MARK}\N{RIGHT-TO-LEFT MARK}"
    return unicodedata.category(c) == "Cc" or unicodedata.bidirectional(c) in directions or is_mark


def label_value(data):
    """Printable, with the text format's escapes."""
    return printable(data).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").encode()


def sample(family, number, /, **label_pairs):
    pairs = b",".join(b'%s="%s"' % (name.encode(), label_value(data)) for name, data in label_pairs.items())
    return family.encode() + (b"{" + pairs + b"}" if pairs else b"") + b" %d\n" % number


def metrics(root, patterns):
    lines = [sample("devicetree_present", has_devicetree(root))]
    for collector in COLLECTORS:
        lines.append(sample("devicetree_collector_success", 1, collector=collector.encode()))
        lines.append(sample("devicetree_collector_skipped_devices", 0, collector=collector.encode()))
    rejected = dict.fromkeys(REASONS, 0)
    if has_devicetree(root):
        board = all_labels(root, patterns)
        for reason in board.rejected.values():
            rejected[reason] += 1
        rejected["malformed"] = len(board.malformed)
        lines += board_metrics(root, labels.designated(root, patterns), board)
        lines += accelerator_metrics(root, board)
    lines += [sample("devicetree_node_labels_rejected", count, reason=reason.encode())
              for reason, count in rejected.items()]
    return b"".join(sorted(lines))


def board_metrics(root, chosen_nodes, board):
    model = fdt.string_of(root.properties.get(b"model", b""))
    info = {} if model is None else {"model": model}
    if labels.compatibles(root):
        info["compatible"] = labels.compatibles(root)[0]
    yield sample("devicetree_info", 1, **info)
    statuses = [labels.effective_status(node) for node in root.walk()]
    for status in STATUSES:
        yield sample("devicetree_nodes", statuses.count(status), status=status.encode())
    for node in [root] + [node for node in chosen_nodes if node is not root]:
        for position, compatible in enumerate(labels.compatibles(node) or []):
            gives = node is root or labels.enabled(node)
            yield sample("devicetree_compatible_info", 1, path=node.path, compatible=compatible,
                         position=b"%d" % position, label_key=board.key_of(compatible) if gives else b"")
    for node in chosen_nodes:
        yield sample("devicetree_node_enabled", labels.enabled(node), path=node.path)
    yield sample("devicetree_fingerprint_info", 1, fingerprint=b"%016x" % fingerprint(root))
    for key, value in board.items():
        yield sample("devicetree_node_label_info", 1, key=key, value=value)


def accelerator_metrics(root, board):
    """In a blob nothing is bound, and no driver or NUMA node known; the facts have no models."""
    for device in accelerators.find(root)[0]:
        which = {"kind": device.kind.encode(), "bus": b"devicetree", "address": device.address}
        yield sample("accelerator_info", 1, **which, vendor=device.vendor.encode(), compatible=device.compatible,
                     label_key=board.key_of(device.compatible) if device.enabled else b"")
        yield sample("accelerator_enabled", device.enabled, **which)
        yield sample("accelerator_bound", 0, **which)
        yield sample("accelerator_ready", 0, **which)
    for node in accelerators.unrecognised(root):
        yield sample("accelerator_unrecognised_info", 1, path=node.path, compatible=labels.compatibles(node)[0])


def fingerprint(root):
    """FNV-1a 64 over structure, status and compatibles."""
    number = 0xCBF29CE484222325
    for node in root.walk():
        top = node.path.split(b"/")[1].partition(b"@")
        if top[0] in NOT_IN_FINGERPRINT and (top[0] == b"memory" or not top[1]):
            continue
        if labels.own_status(node) == "okay":
            status = b"okay"
        else:
            status = node.properties[b"status"]
            status = status[:-1] if status.endswith(b"\0") else status
        compatible = node.properties.get(b"compatible", b"")
        for byte in node.path + b"\0" + status + b"\0" + compatible + b"\x01":
            number = ((number ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return number


def expected_files(blob, patterns):
    """File name -> content; blob is None for a machine without a devicetree."""
    root = None if blob is None else fdt.parse(blob)
    return {
        "dry_run.txt": dry_run(root, patterns),
        "metrics.prom": metrics(root, patterns),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("board")
    parser.add_argument("-n", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--write", metavar="DIR", type=pathlib.Path)
    options = parser.parse_args()
    blob = None if options.board == "none" else pathlib.Path(options.board).read_bytes()
    for name, content in expected_files(blob, [os.fsencode(pattern) for pattern in options.n]).items():
        if options.write:
            options.write.mkdir(parents=True, exist_ok=True)
            (options.write / name).write_bytes(content)
        else:
            sys.stdout.buffer.write(b"==> %s <==\n%s\n" % (name.encode(), content))


if __name__ == "__main__":
    main()
