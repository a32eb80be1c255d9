#!/bin/bash
# snippets_test.sh HEADER TEST...: the example in the head comment of each header (the lines behind `//   `) stands in the
# test that follows it, line by line, in one piece: so it is compiled, and run.
set -euo pipefail
export LC_ALL=C

(($# > 0 && $# % 2 == 0)) || { echo "snippets_test.sh: pairs of a header and its test" >&2; exit 2; }

# The lines of $1 without what they are indented by.
flat() { sed -E 's/^[[:space:]]+//; s/[[:space:]]+$//' "$1"; }

failed=0
while (($# > 0)); do
  header=$1 test=$2
  shift 2
  snippet=$(sed -nE '/^#ifndef/q; s@^//   +@@p' "$header")
  if [[ -z $snippet ]]; then
    echo "$header:1: has no example"
    failed=1
  elif [[ $'\n'$(flat "$test")$'\n' != *$'\n'"$snippet"$'\n'* ]]; then
    echo "$header:1: its example is not in $test:"
    diff <(echo "$snippet") <(flat "$test") | grep '^<' || true
    failed=1
  fi
done
exit $failed
