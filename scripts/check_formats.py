#!/usr/bin/env python3
"""Checks the formats: scripts/check_formats.py [ROOT]

Each record's kind, frame's magic and JSON schema that the code writes is in tests/golden/formats.txt with a golden file
that holds it, and the other way round. The tests under tests/golden compare the files with what the code does.
"""
import pathlib
import re
import sys

KINDS = (re.compile(r"\{\"(W[A-Z]{3})\", \d+, \d+\}"), re.compile(r"Magic = 0x[0-9a-f]+;\s*// \"(W[A-Z]{3})\""))
SCHEMAS = (re.compile(r"\"(wsync\.[a-z_]+/\d+)\""),)


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent)
    golden = root / "tests/golden"
    written = {}
    for folder in ("src", "tools", "python"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in (".cpp", ".hpp", ".py"):
                continue
            text = path.read_text()
            for pattern in KINDS + SCHEMAS:
                for name in pattern.findall(text):
                    written.setdefault(name, path.relative_to(root))
    listed, problems = {}, []
    for line in (golden / "formats.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, file = line.split()
            listed.setdefault(name, []).append(file)
    for name, path in sorted(written.items()):
        if name not in listed:
            problems.append(f"{path} writes {name}, which has no golden file: make one and list it in tests/golden/formats.txt")
    for name, files in sorted(listed.items()):
        # The schema's major is put together from a number in some places.
        if name not in written and not any(name.rsplit("/", 1)[0] + "/\"" in p.read_text() for p in (root / "src").rglob("*.cpp")):
            problems.append(f"tests/golden/formats.txt lists {name}, which nothing writes")
        for file in files:
            if not (golden / file).exists():
                problems.append(f"tests/golden/{file}, a golden file of {name}, is not there")
            elif name.encode() not in (golden / file).read_bytes():
                problems.append(f"tests/golden/{file} does not hold {name}")
    for problem in problems:
        print(problem)
    print(f"{len(written)} formats, {len(problems)} problems")
    return 1 if problems or not written else 0


if __name__ == "__main__":
    sys.exit(main())
