#!/usr/bin/env python3
"""Checks what the compiler can't: scripts/check_style.py [ROOT]

Names that say nothing, files that are too long, things put off, vendor switches in the preprocessor, paths of one
machine, exceptions and printing in the library.
"""
import pathlib
import re
import sys

FOLDERS = ("src", "include", "tools", "tests", "fuzz", "bench", "examples", "scripts", "python", "cmake", "docs", ".ci")
CODE = {".cpp", ".hpp", ".h", ".cu", ".py", ".sh", ".cmake"}
MAX_LINES = 500
EMPTY_WORDS = re.compile(r"(?:^|[_.\-])(utils?|common|helpers?|managers?|misc)(?:[_.\-]|$)")
PUT_OFF = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|HA" + r"CK)\b")
VENDOR_SWITCH = re.compile(r"^\s*#\s*(?:if|ifdef|ifndef|elif)\b.*\b(?:USE|HAVE|WITH|ENABLE)_|^\s*#\s*(?:if|ifdef|ifndef|elif)\b.*(?:CUDA|NCCL|UCX|GLOO)")
MACHINE_PATH = re.compile(r"(?<![\w/.])/(?:ho" + r"me|wo" + r"rk|ro" + r"ot|Us" + r"ers|wor" + r"kspace|m" + r"nt)/\w")
# In the library alone.
FORBIDDEN_IN_LIBRARY = (
    (re.compile(r"\b(?:std::cout|std::cerr|printf\s*\(|fmt::print\s*\(|\bputs\s*\()"), "the library prints nothing"),
    (re.compile(r"\b(?:secure_)?getenv\s*\("), "the library reads no environment"),
    (re.compile(r"^\s*using namespace std\s*;"), "using namespace std"),
    (re.compile(r"#\s*include\s*<(?:ranges|format|source_location|coroutine|expected)>"), "not in every toolchain that builds wsync"),
)


def check(path, name, problems):
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return
    lines = text.splitlines()
    if path.suffix in CODE and len(lines) > MAX_LINES:
        problems.append(f"{name}: {len(lines)} lines, the limit is {MAX_LINES}: look for the two nouns inside")
    library = name.parts[0] in ("src", "include")
    for number, line in enumerate(lines, 1):
        if PUT_OFF.search(line):
            problems.append(f"{name}:{number}: something is put off; do it or file it")
        if MACHINE_PATH.search(line):
            problems.append(f"{name}:{number}: a path of one machine")
        if path.suffix in {".cpp", ".hpp"} and VENDOR_SWITCH.search(line):
            problems.append(f"{name}:{number}: vendor support is decided at run time, not by the preprocessor")
        if library:
            for pattern, why in FORBIDDEN_IN_LIBRARY:
                if pattern.search(line.split("//")[0]):
                    problems.append(f"{name}:{number}: {why}")
    if path.suffix == ".hpp":
        if "#pragma once" not in text:
            problems.append(f"{name}: no #pragma once")
        if not text.startswith("//"):
            problems.append(f"{name}: a header begins with its contract")


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent)
    problems, files = [], 0
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            name = path.relative_to(root)
            if not path.is_file() or "__pycache__" in name.parts or "corpus" in name.parts:
                continue
            files += 1
            for part in name.parts:
                if EMPTY_WORDS.search(part):
                    problems.append(f"{name}: \"{part}\" says nothing about what is in it")
            check(path, name, problems)
    for problem in problems:
        print(problem)
    print(f"{files} files, {len(problems)} problems")
    return 1 if problems or files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
