#!/usr/bin/env python3
"""Counts the tests of ctest's JUnit files: scripts/count_tests.py FILE... Prints "N passed, N failed".

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
    passed = sum(case.get("status") == "run" for case in cases)
    for case in cases:
        if case.get("status") != "run":
            print(f"not passed: {case.get('name')} ({case.get('status')})")
    return passed, len(cases) - passed + (not cases)


def main():
    results = [count(path) for path in sys.argv[1:]]
    passed, failed = sum(p for p, _ in results), sum(f for _, f in results)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
