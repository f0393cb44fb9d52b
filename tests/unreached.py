#!/usr/bin/env python3
"""Which branches no test reaches, and which of them unreached.txt does not name.

    tests/unreached.py COVERAGE.json      as gcovr --json writes it

unreached.txt holds FILE: LINE OF THE SOURCE, below a comment with the reason; a line stands for all
its branches. Exit code 1 if a branch is neither reached nor named, or a named line is not in its file
any more. Prints what is to be named in that form, with the line's number and the outcomes, and what
is named and was reached, which may differ from one run to the next where threads race.
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMED = ROOT / "tests/unreached.txt"


def source_lines(name):
    return [line.strip() for line in (ROOT / name).read_text().splitlines()]


def named():
    """(file, line) of each entry, in order."""
    entries = [line.split(": ", 1) for line in NAMED.read_text().splitlines()
               if line and not line.startswith("#")]
    return [(file, text) for file, text in entries]


def unreached(report):
    """(file, number, text, outcomes) of each line with a branch that was never taken.

    Outcomes are those of its conditions from left to right: "2nd false".
    """
    for file in report["files"]:
        lines = source_lines(file["file"])
        for line in file["lines"]:
            missing = [number for number, branch in enumerate(line["branches"]) if not branch["count"]]
            if missing:
                outcomes = [f"{number // 2 + 1} {'false' if number % 2 else 'true'}" for number in missing]
                number = line["line_number"]
                yield file["file"], number, lines[number - 1], outcomes


def main():
    report = json.loads(pathlib.Path(sys.argv[1]).read_text())
    names = named()
    branches = [branch for file in report["files"] for line in file["lines"] for branch in line["branches"]]
    found = list(unreached(report))
    stale = [f"{file}: {text}" for file, text in names if text not in source_lines(file)]
    unnamed = [(file, number, text, outcomes) for file, number, text, outcomes in found
               if (file, text) not in names]
    reached = sum(1 for branch in branches if branch["count"])
    print(f"{reached} of {len(branches)} branches reached; {len(found)} lines hold the others, "
          f"{len(found) - len(unnamed)} of them named in {NAMED.relative_to(ROOT)}")
    for file, number, text, outcomes in unnamed:
        print(f"{file}: {text}    # line {number}: {', '.join(outcomes)}")
    missed = {(file, text) for file, _, text, _ in found}
    for file, text in names:
        if (file, text) not in missed and text in source_lines(file):
            print(f"reached this time: {file}: {text}")
    for entry in stale:
        print(f"not in the source any more: {entry}")
    return 1 if unnamed or stale else 0


if __name__ == "__main__":
    sys.exit(main())
