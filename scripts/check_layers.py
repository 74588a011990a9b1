#!/usr/bin/env python3
"""Checks the table of rooms in ARCHITECTURE.md against the includes: scripts/check_layers.py [ROOT]

A row says which other rooms a room's files may include and which libraries. A row's rooms stand above it, so that the
rooms have no cycle. "transport" alone is the files right in that folder (a contract); "transport/*" is all of it. A
folder with a row of its own inherits its room's list and may not include its sisters. Headers under include/ may include
public headers alone. No header includes itself by a detour.
"""
import pathlib
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', re.M)
ROW = re.compile(r"^\|\s*`([a-z_/]+)`\s*\|([^|]*)\|([^|]*)\|")
# Headers of other people's libraries, by how their names begin.
LIBRARIES = {
    "fmt/": "fmt", "nlohmann/": "nlohmann_json", "xxhash.h": "xxhash", "openssl/": "libcrypto", "isa-l": "isa-l",
    "liburing": "liburing", "CLI/": "CLI11", "zstd": "zstd", "httplib": "httplib", "gloo/": "gloo", "benchmark/": "benchmark",
    "cuda": "cuda", "nccl": "nccl", "ucp/": "ucx", "uct/": "ucx", "ucs/": "ucx", "gtest/": "tests", "gmock/": "tests", "rapidcheck": "tests",
}


def read_table(path):
    """{row: (rooms, libraries)} in the table's order."""
    rows = {}
    for line in path.read_text().splitlines():
        if match := ROW.match(line):
            name, rooms, libraries = match.groups()
            rows[name] = (re.findall(r"`([a-z_/*]+)`", rooms), re.findall(r"`([A-Za-z0-9_-]+)`", libraries))
    return rows


def check_order(rows, problems):
    seen = set()
    for name, (rooms, _) in rows.items():
        for room in rooms:
            target = room.removesuffix("/*")
            own = name.split("/")[0] == target.split("/")[0]
            if target not in rows:
                problems.append(f"ARCHITECTURE.md: {name} may include {target}, which has no row")
            elif target not in seen and not own:
                problems.append(f"ARCHITECTURE.md: {name} may include {target}, which stands below it")
        seen.add(name)


def row_of(parts, rows):
    """The row that a path below src/, or the path of an include, belongs to."""
    folders = "/".join(parts[:2]) if len(parts) > 2 else parts[0]
    return folders if folders in rows else parts[0]


def may_include(row, target, rows):
    room = row.split("/")[0]
    if row == target or target == room:
        return True
    allowed = rows[row][0] + (rows[room][0] if room != row else [])
    # A room's list names a sister only for the room's own root.
    if row != room and target.split("/")[0] == room:
        allowed = rows[row][0]
    return target in allowed or target.split("/")[0] + "/*" in allowed


def library_of(header):
    return next((library for start, library in LIBRARIES.items() if header.startswith(start)), None)


def sources(root):
    """(path, row parts, is public)"""
    for base, public in (("src", False), ("include/wsync", True), ("tools", False)):
        for path in sorted((root / base).rglob("*.[ch]pp")):
            parts = path.relative_to(root / base).parts
            if base == "tools":
                parts = ("tools", *parts[1:])
            elif len(parts) == 1:
                parts = ("wsync", *parts)  # wsync.hpp: everything public
            yield path, parts, public


def find_cycle(graph):
    state = {}
    for start in graph:
        stack = [(start, iter(graph[start]))] if start not in state else []
        state.setdefault(start, 1)
        while stack:
            node, edges = stack[-1]
            target = next(edges, None)
            if target is None:
                state[node] = 2
                stack.pop()
            elif state.get(target) == 1:
                names = [name for name, _ in stack]
                return names[names.index(target):] + [target]
            elif target in graph and target not in state:
                state[target] = 1
                stack.append((target, iter(graph[target])))
    return None


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent)
    rows = read_table(root / "ARCHITECTURE.md")
    problems = []
    if len(rows) < 10:
        problems.append("ARCHITECTURE.md has no table of rooms")
    check_order(rows, problems)
    graph, files = {}, 0
    for path, parts, public in sources(root):
        files += 1
        row = row_of(parts, rows)
        name = path.relative_to(root)
        if row not in rows and row != "wsync":
            problems.append(f"{name}: {row} has no row in ARCHITECTURE.md")
            continue
        spelled = str(path.relative_to(root / "include")) if public else str(pathlib.Path(*parts))
        graph[spelled] = []
        for quoted, angled in INCLUDE.findall(path.read_text()):
            if quoted:
                graph[spelled].append(quoted)
                words = quoted.split("/")
                if public and words[0] != "wsync":
                    problems.append(f"{name} is public and includes \"{quoted}\", which is not installed")
                words = words[1:] if words[0] == "wsync" else words
                if len(words) == 1:
                    continue  # a verb's neighbour, or wsync.hpp
                target = row_of(words, rows)
                if row != "wsync" and not may_include(row, target, rows):
                    problems.append(f"{name}: {row} may not include \"{quoted}\" ({target})")
            elif library := library_of(angled):
                allowed = rows[row][1] + rows[row.split("/")[0]][1] if row in rows else []
                if library not in allowed:
                    problems.append(f"{name}: {row} may not use {library} (<{angled}>)")
    if cycle := find_cycle(graph):
        problems.append("headers include each other: " + " -> ".join(cycle))
    for problem in problems:
        print(problem)
    print(f"{files} files, {len(rows)} rows, {len(problems)} problems")
    return 1 if problems or files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
