#!/bin/bash
# readme_test.sh PROGRAM SOURCE: the README's first C++ program, extracted by the build to SOURCE, was compiled to PROGRAM and
# is as short as the README promises. That it compiles as printed is shown by PROGRAM being there.
set -euo pipefail

fail() { printf 'readme_test.sh: %s\n' "$*" >&2; exit 1; }

[[ -x $1 ]] || fail "$1 is not a program"
lines=$(wc -l <"$2")
((lines >= 10 && lines <= 30)) || fail "the program has $lines lines: about 20 were promised"
grep -q '^int main' "$2" || fail "the program has no main"
echo "$lines lines"
