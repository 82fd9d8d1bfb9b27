"""A property of test_fuzz.py under atheris, which draws what reaches new lines of givenotice.py.

python guided.py PROPERTY [OPTION ...]    # of libFuzzer, such as -max_total_time=60
"""

from __future__ import annotations

import importlib
import sys

TARGETS = [
    "test_build_uri_gives_a_uri_or_a_sentence",
    "test_matomo_uri_gives_a_uri_or_a_sentence",
    "test_push_asks_nothing_of_anybody_else",
    "test_the_command_line_says_what_is_wrong_and_no_secret",
    "test_a_redirect_leads_to_http_and_to_whom_it_names",
    "test_an_answer_may_be_anything",
    "test_matomo_may_tell_anything",
]


def main() -> None:
    atheris = importlib.import_module("atheris")
    target = sys.argv.pop(1)
    with atheris.instrument_imports(include=["givenotice"]):
        importlib.import_module("givenotice")
    test = getattr(importlib.import_module("test_fuzz"), target)
    atheris.Setup(sys.argv, test.hypothesis.fuzz_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
