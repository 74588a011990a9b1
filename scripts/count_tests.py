#!/usr/bin/env python3
"""Counts the tests of JUnit files, ctest's and pytest's: scripts/count_tests.py FILE... Prints "N passed, N failed".

A file that is not there stands for one failure (its build or its tests did not run), and so does a test that did not run.
"""
import sys
import xml.etree.ElementTree as ElementTree


def count(path):
    try:
        cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError) as problem:
        print(f"count_tests.py: {path}: {problem}", file=sys.stderr)
        return 0, 1
    outcomes = [outcome(case) for case in cases]
    for case, what in zip(cases, outcomes):
        if what != "run":
            print(f"not passed: {case.get('name')} ({what})")
    passed = outcomes.count("run")
    return passed, len(cases) - passed + (not cases)


def outcome(case):
    """ctest writes a status; pytest only says what went wrong."""
    wrong = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
    return case.get("status") or (wrong[0] if wrong else "run")


def main():
    results = [count(path) for path in sys.argv[1:]]
    passed, failed = sum(p for p, _ in results), sum(f for _, f in results)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
