"""compile_commands.py: turns `bazel aquery --output=jsonproto` (standard input) into compile_commands.json (standard output).

Called by compile_commands.sh, with Bazel's execution root and output base as arguments, from the root of the repository.
"""

import json
import os
import re
import sys


def absolute(argument, execution_root, output_base):
    """The argument with a path that only exists in Bazel's execution root made absolute."""
    argument = re.sub(r"^(-I|-isystem|-iquote)?(external/)", lambda m: f"{m[1] or ''}{output_base}/{m[2]}", argument)
    return re.sub(r"^(-I|-isystem|-iquote)?(bazel-out/)", lambda m: f"{m[1] or ''}{execution_root}/{m[2]}", argument)


def commands(actions, execution_root, output_base):
    """One entry a source file of this repository; compiled for several targets, the first one counts."""
    entries = {}
    for action in actions:
        arguments = action["arguments"]
        source = arguments[arguments.index("-c") + 1]
        if source.startswith(("external/", "bazel-out/")):
            continue
        arguments = [absolute(argument, execution_root, output_base) for argument in arguments]
        entries.setdefault(source, {"directory": os.getcwd(), "file": source, "arguments": arguments})
    return [entries[source] for source in sorted(entries)]


def main():
    execution_root, output_base = sys.argv[1:]
    actions = json.load(sys.stdin).get("actions", [])
    json.dump(commands(actions, execution_root, output_base), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
