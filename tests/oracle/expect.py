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

import accelerators
import fdt
import labels

HEADING = b"Discovered the following devicetree properties:\n\n"
NOTHING = b"This machine has no devicetree.\n"
REASONS = ("collision", "empty", "malformed", "too_long")
STATUSES = ("okay", "disabled", "reserved", "fail", "other")
# What firmware fills in differs from board to board of one kind.
NOT_IN_FINGERPRINT = (b"chosen", b"aliases", b"reserved-memory", b"memory",
                      b"__symbols__", b"__fixups__", b"__local_fixups__")


def has_devicetree(root):
    return root is not None and bool(labels.compatibles(root))


# --- the dry run

def dry_run(root, patterns, with_accelerators):
    if not has_devicetree(root):
        return NOTHING
    board = labels.of_board(root, patterns)
    if with_accelerators:
        accelerators.add_labels(board, root)
    return HEADING + b"".join(b"%s: %s\n" % item for item in board.items())


# --- the metrics

def label_value(data):
    """Bytes that are no UTF-8, and control characters, as \\xNN; then the text format's escapes."""
    text = data.decode("utf-8", "backslashreplace")
    text = "".join(f"\\x{ord(c):02x}" if ord(c) < 0x20 or ord(c) == 0x7F else c for c in text)
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").encode()


def sample(family, number, /, **label_pairs):
    pairs = b",".join(b'%s="%s"' % (name.encode(), label_value(data)) for name, data in label_pairs.items())
    return family.encode() + (b"{" + pairs + b"}" if pairs else b"") + b" %d\n" % number


def metrics(root, patterns):
    lines = [sample("devicetree_present", has_devicetree(root)),
             sample("devicetree_collector_success", 1, collector=b"devicetree")]
    rejected = dict.fromkeys(REASONS, 0)
    if has_devicetree(root):
        board = labels.of_board(root, patterns)
        for reason in board.rejected.values():
            rejected[reason] += 1
        rejected["malformed"] = len(board.malformed)
        lines += board_metrics(root, labels.designated(root, patterns), board)
    lines += [sample("devicetree_node_labels_rejected", count, reason=reason.encode())
              for reason, count in rejected.items()]
    return b"".join(sorted(lines))


def board_metrics(root, chosen_nodes, board):
    model = fdt.string_of(root.properties.get(b"model", b""))
    info = {} if model is None else {"model": model}
    yield sample("devicetree_info", 1, **info, compatible=labels.compatibles(root)[0])
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
        "dry_run.txt": dry_run(root, patterns, with_accelerators=False),
        "dry_run_accelerators.txt": dry_run(root, patterns, with_accelerators=True),
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
