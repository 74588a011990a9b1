#!/usr/bin/env python3
"""Writes the notices of what a build has inside it: scripts/notices.py BUILD_DIRECTORY OUTPUT TARGET...

Looks at what the targets were really made of: every header that their compilations read and every library that their links name, as ninja
knows them. Each is wsync's own, or of a package whose notice is found; one that is neither is an error. Run it when the build is done.
"""
import pathlib
import re
import subprocess
import sys

# Of the C library, the compiler and the interpreter, which a machine has of its own: nothing of them is in the wheel, but inline functions.
SYSTEM = re.compile(r"^(libc6-dev|linux-libc-dev|libstdc\+\+-\d+-dev|libgcc-\d+-dev|libpython3[.\d]*-dev|libcrypt-dev)$")
# The parts of zig's distribution that end up in what it links, and the folders that they are known by.
ZIG = {"libcxx": "libc++", "libcxxabi": "libc++abi", "libunwind": "libunwind"}


def ninja(build, *arguments):
    return subprocess.run(["ninja", "-C", str(build), *arguments], check=True, capture_output=True, text=True).stdout


def files_of(build, targets):
    """The real paths of the headers that were read and of the libraries that were linked."""
    commands = [line for line in ninja(build, "-t", "commands", *targets).splitlines() if not line.startswith("ninja:")]
    objects = set(re.findall(r" -o (\S+\.o)\b", "\n".join(commands)))
    names, wanted = set(), False
    for line in ninja(build, "-t", "deps").splitlines():
        if line and not line[0].isspace():
            wanted = line.split(": #deps")[0] in objects
        elif line and wanted:
            names.add(line.strip())
    for command in commands:
        names.update(word for word in command.split() if re.search(r"^/.*\.(a|so)(\.\d+)*$", word))
    return {(build / name).resolve() for name in names}


def debian_package(path, known={}):
    """The one that has the file. A library's folder is one package's, its headers too: asked once for each folder that has one name."""
    if path not in known:
        done = subprocess.run(["dpkg-query", "--search", str(path)], capture_output=True, text=True)
        known[path] = done.stdout.split(":")[0] if done.returncode == 0 else None
    return known[path]


def owner_of(path, build, root):
    """(name, notice's text) of the package that the file is of; None for wsync's own and the system's."""
    parts = path.parts
    if "ziglang" in parts:
        home = pathlib.Path(*parts[: parts.index("ziglang") + 1])
        part = next((part for part in ZIG if home / "lib" / part in path.parents), None)
        return (ZIG[part], (home / "lib" / part / "LICENSE.TXT").read_text()) if part else None
    if "nanobind" in parts:
        home = pathlib.Path(*parts[: parts.index("nanobind") + 1])
        if "robin_map" in parts:
            return "robin-map", (home / "ext/robin_map/include/tsl/robin_map.h").read_text().split("*/")[0].lstrip("/* ")
        return "nanobind", next(home.parent.glob("nanobind-*.dist-info/licenses/LICENSE")).read_text()
    if build in path.parents or root in path.parents:
        return None
    if re.search(r"/include/python3\.\d+/", str(path)):
        return None
    package = debian_package(path)
    if package is None:
        sys.exit(f"notices.py: {path} is part of the build, and no package is known to have it")
    if SYSTEM.match(package):
        return None
    return package, (pathlib.Path("/usr/share/doc") / package / "copyright").read_text()


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    build, output = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    root = pathlib.Path(__file__).resolve().parent.parent
    notices = dict(filter(None, (owner_of(path, build, root) for path in sorted(files_of(build, sys.argv[3:])))))
    if any(name.startswith("libc++") for name in notices):
        # Linked with the C++ library, whose headers alone are read.
        zig = next(path for path in files_of(build, sys.argv[3:]) if "ziglang" in path.parts)
        home = pathlib.Path(*zig.parts[: zig.parts.index("ziglang") + 1])
        notices |= {name: (home / "lib" / part / "LICENSE.TXT").read_text() for part, name in ZIG.items()}
    if not notices:
        sys.exit(f"notices.py: {build} knows nothing of what {' '.join(sys.argv[3:])} was made of: build it with ninja first")
    text = "This package has parts of the following in it, under these terms.\n"
    for name, notice in sorted(notices.items()):
        text += f"\n{'=' * 120}\n{name}\n{'=' * 120}\n\n{notice.strip()}\n"
    output.write_text(text)
    print(f"{output}: {', '.join(sorted(notices))}")


if __name__ == "__main__":
    main()
