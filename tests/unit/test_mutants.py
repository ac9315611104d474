"""What `make mutants` rests on: the reviewed list is of today, and the copy it mutates behaves as the original."""

from __future__ import annotations

import libcst
from mutants import ROOMS, Plain, files_of, quick_tests
from support.survivors import PACKAGE, ROOT, reviewed


def test_each_reviewed_mutant_changes_a_line_that_is_still_there():
    assert [found.where for found in reviewed() if not found.line()] == []


def test_every_room_has_files_and_tests():
    for room in ROOMS:
        files = files_of([room])
        assert files and all((ROOT / PACKAGE / file).is_file() for file in files)
        assert quick_tests(files), room


def test_a_decorator_becomes_an_assignment():
    source = """
class Box:
    @property
    def size(self): return 3
    @staticmethod
    def plain(x): return x
    def outer(self):
        @twice
        @cache
        def inner(): return 1
        return inner
"""
    code = libcst.parse_module(source).visit(Plain()).code
    assert "    def size(self): return 3\n    size = property(size)\n" in code
    assert "        def inner(): return 1\n        inner = twice(cache(inner))\n" in code
    assert "    @staticmethod\n    def plain(x)" in code
