"""The verbs of the command line, one module each: functions from parsed arguments to the object that --json prints.

Each verb imports what it needs when it is called, and prints text for people with `Arguments.write_line`.
"""
