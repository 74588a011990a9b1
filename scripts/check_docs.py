#!/usr/bin/env python3
"""Checks the documents: scripts/check_docs.py [ROOT]

Relative links lead to files that are there. Each JSON schema that the code writes has its section in docs/json.md, and
the other way round.
"""
import pathlib
import re
import sys

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
SCHEMA = re.compile(r"\"(wsync\.[a-z_]+/\d+)\"")
SECTION = re.compile(r"^## `(wsync\.[a-z_]+/\d+)`", re.M)


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent)
    problems, links = [], 0
    documents = sorted(root.glob("*.md")) + sorted((root / "docs").rglob("*.md"))
    for path in documents:
        for target in LINK.findall(path.read_text()):
            links += 1
            if "://" not in target and not target.startswith("mailto:") and not (path.parent / target).exists():
                problems.append(f"{path.relative_to(root)}: link to {target}, which is not there")
    written = set()
    for folder in ("src", "tools", "python", "bench"):
        for path in (root / folder).rglob("*"):
            if path.suffix in (".cpp", ".hpp", ".py"):
                written |= set(SCHEMA.findall(path.read_text()))
    page = root / "docs/json.md"
    described = set(SECTION.findall(page.read_text())) if page.exists() else set()
    problems += [f"docs/json.md has no section ## `{schema}`, which the code writes" for schema in sorted(written - described)]
    problems += [f"docs/json.md describes {schema}, which nothing writes" for schema in sorted(described - written)]
    for problem in problems:
        print(problem)
    print(f"{len(documents)} documents, {links} links, {len(written)} schemas, {len(problems)} problems")
    return 1 if problems or not documents else 0


if __name__ == "__main__":
    sys.exit(main())
