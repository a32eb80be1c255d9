#!/bin/bash
# guide.sh ROOT: checks that the code of the guide in a checkout is code that is compiled and run.
#
#   - each block ```cpp of a chapter docs/guide/NAME.md stands in tests/guide/NAME_test.cc, word for word, though it may be
#     indented there
#   - each chapter has such blocks and such a test, but for simulation.md, whose code is that of an example; and each test a
#     chapter
#   - docs/guide/README.md leads to each chapter
#
# One line a violation. Leaves with 1 if there is one, with 2 if it could not look.
set -euo pipefail
export LC_ALL=C

(($# == 1)) || { sed -n '2s/^# /usage: /p' "$0" >&2; exit 2; }
cd "$1"
[[ -e docs/guide/README.md ]] || { echo "guide.sh: there is no docs/guide/README.md" >&2; exit 2; }

# Whether $code, framed by newlines, has the lines of $1, which ends with a newline, all indented alike.
stands() {
  local indent
  for indent in '' '  ' '    '; do
    [[ $code != *$'\n'"$(sed "s/^./$indent&/" <<<"${1%$'\n'}")"$'\n'* ]] || return 0
  done
  return 1
}

check_blocks() {
  local chapter=$1 line number=0 first=0 block='' blocks=0
  local code=$'\n'$(<"$2")$'\n'
  while IFS= read -r line; do
    number=$((number + 1))
    if [[ $line == '```cpp' ]]; then
      first=$number block='' blocks=$((blocks + 1))
    elif [[ $line == '```' && $first != 0 ]]; then
      stands "$block" || echo "$chapter:$first: this block does not stand in $2"
      first=0
    elif ((first != 0)); then
      block+=$line$'\n'
    fi
  done <"$chapter"
  ((first == 0)) || echo "$chapter:$first: this block has no end"
  ((blocks > 0)) || echo "$chapter:1: has no code"
}

check() {
  local chapter name test
  for chapter in docs/guide/*.md; do
    name=$(basename "$chapter" .md)
    [[ $name != README ]] || continue
    grep -qF "]($name.md)" docs/guide/README.md || echo "docs/guide/README.md:1: does not lead to $name.md"
    [[ $name != simulation ]] || continue
    test=tests/guide/${name}_test.cc
    if [[ -e $test ]]; then check_blocks "$chapter" "$test"; else echo "$chapter:1: there is no $test"; fi
  done
  for test in tests/guide/*_test.cc; do
    name=$(basename "$test" _test.cc)
    [[ -e docs/guide/$name.md ]] || echo "$test:1: there is no docs/guide/$name.md"
  done
}

violations=$(check)
[[ -z $violations ]] || { printf '%s\n' "$violations"; exit 1; }
