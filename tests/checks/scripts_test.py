"""The scripts that check the house, on small houses that break each rule."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent.parent / "scripts"
ROWS = ["| `base` | | `fmt` | x |", "| `plan` | `base` | | x |", "| `wire` | `base` | | x |", "| `wire/tcp` | `wire` | | x |",
        "| `wire/shm` | `wire` | | x |", "| `sync` | `base`, `wire/*` | | x |", "| `four` | | | x |", "| `five` | | | x |",
        "| `six` | | | x |", "| `tools` | `sync` | `CLI11` | x |"]


class House:
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        self.write("ARCHITECTURE.md", "\n".join(ROWS))
        self.write("src/base/a.hpp", "// A.\n#pragma once\n#include <fmt/format.h>\n")

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def check(self, script):
        run = subprocess.run([sys.executable, SCRIPTS / script, self.root], capture_output=True, text=True, check=False)
        return run.returncode, run.stdout


class Case(unittest.TestCase):
    script = ""

    def setUp(self):
        self.house = House()
        self.addCleanup(self.house.folder.cleanup)

    def refuses(self, words):
        status, output = self.house.check(self.script)
        self.assertEqual(status, 1, output)
        self.assertIn(words, output)

    def accepts(self):
        status, output = self.house.check(self.script)
        self.assertEqual(status, 0, output)


class Layers(Case):
    script = "check_layers.py"

    def test_what_the_table_says_is_accepted(self):
        self.house.write("src/plan/p.cpp", '#include "base/a.hpp"\n#include "plan/p.hpp"\n')
        self.house.write("src/wire/tcp/t.cpp", '#include "base/a.hpp"\n#include "wire/w.hpp"\n')
        self.house.write("src/sync/s.cpp", '#include "wire/tcp/t.hpp"\n')
        self.house.write("include/wsync/plan/p.hpp", '#include "wsync/base/b.hpp"\n')
        self.house.write("tools/wsync/main.cpp", '#include "verb.hpp"\n#include <CLI/CLI.hpp>\n')
        self.accepts()

    def test_a_room_below(self):
        self.house.write("src/base/up.cpp", '#include "plan/p.hpp"\n')
        self.refuses('base may not include "plan/p.hpp"')

    def test_a_public_name_of_a_room_below(self):
        self.house.write("src/base/up.cpp", '#include "wsync/plan/p.hpp"\n')
        self.refuses("base may not include")

    def test_a_sister(self):
        self.house.write("src/wire/tcp/t.cpp", '#include "wire/shm/s.hpp"\n')
        self.refuses("wire/tcp may not include")

    def test_a_contract_that_knows_what_is_behind_it(self):
        self.house.write("src/wire/w.hpp", '#include "wire/shm/s.hpp"\n')
        self.refuses("wire may not include")

    def test_a_library_of_another_room(self):
        self.house.write("src/plan/p.cpp", "#include <nlohmann/json.hpp>\n")
        self.refuses("plan may not use nlohmann_json")

    def test_a_public_header_that_is_not_whole(self):
        self.house.write("include/wsync/plan/p.hpp", '#include "base/a.hpp"\n')
        self.refuses("not installed")

    def test_a_room_without_a_row(self):
        self.house.write("src/attic/a.cpp", "\n")
        self.refuses("attic has no row")

    def test_headers_in_a_circle(self):
        self.house.write("src/base/x.hpp", '#include "base/y.hpp"\n')
        self.house.write("src/base/y.hpp", '#include "base/x.hpp"\n')
        self.refuses("base/x.hpp -> base/y.hpp -> base/x.hpp")

    def test_a_table_with_a_cycle(self):
        self.house.write("ARCHITECTURE.md", "\n".join(ROWS).replace("| `base` | |", "| `base` | `plan` |"))
        self.refuses("stands below it")


class Style(Case):
    script = "check_style.py"

    def test_a_plain_house(self):
        self.accepts()

    def test_each_rule(self):
        for name, text, words in (
            ("src/base/string_utils.cpp", "\n", "says nothing"),
            ("tests/common/a.cpp", "\n", "says nothing"),
            ("src/base/long.cpp", "\n" * 501, "501 lines"),
            ("src/base/b.cpp", "// TO" + "DO: later\n", "put off"),
            ("src/base/b.cpp", "#ifdef WITH_CUDA\n", "at run time"),
            ("src/base/b.cpp", 'const char* p = "/ho' + 'me/me/x";\n', "one machine"),
            ("src/base/b.cpp", 'auto* v = std::getenv("X");\n', "no environment"),
            ("src/base/b.cpp", 'fmt::print("x");\n', "prints nothing"),
            ("src/base/b.hpp", "// B.\n", "#pragma once"),
            ("src/base/b.hpp", "#pragma once\n", "contract"),
        ):
            with self.subTest(words):
                self.house.write(name, text)
                self.refuses(words)
                (self.house.root / name).unlink()
        self.accepts()


class Documents(Case):
    script = "check_docs.py"

    def test_links_and_schemas(self):
        self.house.write("docs/json.md", "## `wsync.x/1`\n[a](../ARCHITECTURE.md) [b](https://example.org)\n")
        self.house.write("tools/wsync/x.cpp", '"wsync.x/1"\n')
        self.accepts()
        self.house.write("docs/lost.md", "[gone](nowhere.md)\n")
        self.refuses("nowhere.md")
        (self.house.root / "docs/lost.md").unlink()
        self.house.write("tools/wsync/y.cpp", '"wsync.y/1"\n')
        self.refuses("no section ## `wsync.y/1`")
        self.house.write("docs/json.md", "## `wsync.x/1`\n## `wsync.y/1`\n## `wsync.z/1`\n")
        self.refuses("which nothing writes")


class Formats(Case):
    script = "check_formats.py"

    def test_kinds_and_schemas(self):
        self.house.write("src/base/a.cpp", 'constexpr RecordKind kA{"WAAA", 1, 0}, kB{"WBBB", 1, 0};\n')
        self.house.write("tools/x.cpp", 'x = {{"schema", "wsync.x/1"}};\n')
        listed = "# A list.\nWAAA a.bin\nWBBB a.bin\nwsync.x/1 x.json\n"
        self.house.write("tests/golden/formats.txt", listed)
        self.refuses("a.bin, a golden file of WAAA, is not there")
        self.house.write("tests/golden/a.bin", "WAAA and WBBB")
        self.house.write("tests/golden/x.json", "wsync.x/1")
        self.accepts()
        self.house.write("tests/golden/a.bin", "WAAA")
        self.refuses("a.bin does not hold WBBB")
        self.house.write("tests/golden/a.bin", "WAAA and WBBB")
        self.house.write("tests/golden/formats.txt", listed.replace("WBBB a.bin\n", ""))
        self.refuses("writes WBBB, which has no golden file")
        self.house.write("tests/golden/formats.txt", listed + "WCCC a.bin\n")
        self.refuses("lists WCCC, which nothing writes")


class Suites(Case):
    script = "check_suites.py"

    def test_each_file_is_run_once(self):
        self.house.write("python/engine_tests/test_a.py", "")
        self.house.write("python/engine_tests/pins.txt", "")
        self.house.write("python/engine_tests/suites.txt", "# suites\nfirst pins.txt test_a.py\n")
        self.accepts()
        self.house.write("python/engine_tests/test_b.py", "")
        self.refuses("test_b.py is in 0 suites")
        self.house.write("python/engine_tests/suites.txt", "first pins.txt test_a.py\nsecond pins.txt test_a.py test_b.py\n")
        self.refuses("test_a.py is in 2 suites")
        self.house.write("python/engine_tests/suites.txt", "first pins.txt test_a.py test_b.py test_c.py\n")
        self.refuses("first names test_c.py, which is not there")


class Counting(unittest.TestCase):
    def count(self, *texts):
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for number, text in enumerate(texts):
                files.append(pathlib.Path(folder) / f"{number}.xml")
                if text is not None:
                    files[-1].write_text(text)
            run = subprocess.run([sys.executable, SCRIPTS / "count_tests.py", *files], capture_output=True, text=True, check=False)
            return run.returncode, run.stdout.splitlines()[-1]

    def test_counts(self):
        good = '<testsuite><testcase name="a" status="run"/><testcase name="b" status="run"/></testsuite>'
        bad = '<testsuite><testcase name="a" status="run"/><testcase name="b" status="fail"/><testcase name="c" status="notrun"/></testsuite>'
        self.assertEqual(self.count(good, good), (0, "4 passed, 0 failed"))
        self.assertEqual(self.count(good, bad), (1, "3 passed, 2 failed"))
        self.assertEqual(self.count(good, None), (1, "2 passed, 1 failed"))
        self.assertEqual(self.count("<testsuite/>"), (1, "0 passed, 1 failed"))
        wrong = "".join(f'<testcase name="{tag}"><{tag}/></testcase>' for tag in ("failure", "error", "skipped"))
        pytests = f'<testsuites><testsuite><testcase name="a"><system-out/></testcase>{wrong}</testsuite></testsuites>'
        self.assertEqual(self.count(good, pytests), (1, "3 passed, 3 failed"))


if __name__ == "__main__":
    unittest.main()
