"""The name of a module that no test may have imported: `stranger` in conftest.py makes it."""

STRANGE = "stranger_of_the_tests"
