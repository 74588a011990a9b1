#!/usr/bin/env python3
"""Checks that the engines' tests are run: scripts/check_suites.py [ROOT]

Each python/engine_tests/test_*.py is in one suite of suites.txt, and what a suite names is there.
"""
import pathlib
import sys


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent)
    folder = root / "python/engine_tests"
    problems, listed, suites = [], [], []
    for line in (folder / "suites.txt").read_text().splitlines():
        if not line.startswith("#"):
            suite, pins, *files = line.split()
            suites.append(suite)
            listed += files
            problems += [f"suites.txt: {suite} names {name}, which is not there" for name in (*pins.split("+"), *files) if not (folder / name).exists()]
    tests = sorted(path.name for path in folder.glob("test_*.py"))
    problems += [f"{name} is in {listed.count(name)} suites of suites.txt, and must be in one" for name in tests if listed.count(name) != 1]
    for problem in problems:
        print(problem)
    print(f"{len(suites)} suites, {len(tests)} files of tests, {len(problems)} problems")
    return 1 if problems or not suites else 0


if __name__ == "__main__":
    sys.exit(main())
