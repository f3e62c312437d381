#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/runtime.md cannot rot: its C stands in the examples as it is, the tests and files that it names
are there, and so are the functions."""

import glob
import os
import re
import sys
import textwrap

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from tap import equal, main

SRCDIR = os.environ.get("SRCDIR", os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))


def read(path):
    with open(os.path.join(SRCDIR, path), encoding="utf-8") as file:
        return file.read()


def read_all(pattern):
    return "\n".join(read(path) for path in sorted(glob.glob(os.path.join(SRCDIR, pattern))))


GUIDE = read("docs/runtime.md")


def foreign_blocks(guide):
    """Blocks of C that are in no example, line by line the same but for their common indentation."""
    examples = ["\n".join(line.strip() for line in read(path).splitlines())
                for path in glob.glob(os.path.join(SRCDIR, "examples/runtime/*.c"))]
    blocks = re.findall(r"^```c\n(.*?)^```", guide, re.M | re.S)
    return [textwrap.dedent(block) for block in blocks
            if not any("\n".join(line.strip() for line in block.splitlines()) in example
                       for example in examples)]


def named_tests(guide):
    """(file, test) of the table; (file, None) where a file is named alone."""
    for cell in re.findall(r"^\| .* \| (.*) \|$", guide.split("## What holds it")[1], re.M):
        for part in cell.split(";"):
            for name in re.findall(r"\*([a-z_]+(?:\.sh)?)\*", part):
                tests = re.findall(r"\b[a-z0-9_]+\b", part.split(":")[1]) if ":" in part else [None]
                for test in tests:
                    yield name, test


def missing_tests(guide):
    missing = []
    for name, test in named_tests(guide):
        path = "tests/" + name if name.endswith(".sh") else "tests/unit/%s.c" % name
        if not os.path.exists(os.path.join(SRCDIR, path)):
            missing.append(path)
        elif test and "START_TEST(%s)" % test not in read(path):
            missing.append("%s: %s" % (path, test))
    return missing


def dead_links(guide):
    targets = re.findall(r"\]\(([^)#]+)\)", guide)
    return [target for target in targets
            if not os.path.exists(os.path.join(SRCDIR, "docs", target))]


def unknown_functions(guide):
    """Names of ours that no public header declares."""
    headers = read_all("runtime/*.h")
    names = set(re.findall(r"\b(?:ftl|FTL)_[a-zA-Z_]+\b", guide))
    return sorted(name for name in names if not re.search(r"\b%s\b" % name, headers))


def test_its_code_is_that_of_the_examples(_t):
    """Each piece of C is compiled and run, where it comes from."""
    assert len(re.findall(r"^```c$", GUIDE, re.M)) > 5, "no blocks"
    equal(foreign_blocks(GUIDE), [])


def test_the_tests_that_it_names_are_there(_t):
    """The table of promises."""
    assert len(list(named_tests(GUIDE))) > 50, "no tests"
    equal(missing_tests(GUIDE), [])


def test_what_it_points_to_is_there(_t):
    """Files and functions."""
    equal(dead_links(GUIDE), [])
    equal(unknown_functions(GUIDE), [])


def test_each_rule_finds_a_violation(_t):
    """A guide with a mistake of each kind."""
    planted = GUIDE + "| a | *test_abort*: no_such_test; *test_nothing*: at_all; *no.sh* |\n"
    planted += "```c\nint mistake;\n```\n[gone](gone.md) ftl_no_such_function\n"
    equal(foreign_blocks(planted), ["int mistake;\n"])
    equal(missing_tests(planted), ["tests/unit/test_abort.c: no_such_test",
                                   "tests/unit/test_nothing.c", "tests/no.sh"])
    equal(dead_links(planted), ["gone.md"])
    equal(unknown_functions(planted), ["ftl_no_such_function"])


def test_each_example_is_mentioned_or_tested(_t):
    """tests/examples.sh runs each of them."""
    runs = read("tests/examples.sh")
    names = [os.path.basename(path)[:-2]
             for path in glob.glob(os.path.join(SRCDIR, "examples/runtime/*.c"))]
    equal([name for name in names if not re.search(r"^(prints|run) %s\b" % name, runs, re.M)], [])


main()
