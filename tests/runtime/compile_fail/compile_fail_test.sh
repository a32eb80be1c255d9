#!/bin/bash
# compile_fail_test.sh FILE...: uses that the type system refuses. Each file compiles as it is, without a warning, with
# gcc and with clang; with WRONG defined it does not, and the compiler's words contain what the file names in a line
# "// gcc: ..." or "// clang: ...". gcc says nothing of a result of co_await that is dropped: such files name clang only.
# Nothing is linked or run.
set -euo pipefail
export LC_ALL=C  # the compilers quote as the files do

failed=0
complain() { printf '%s\n' "$*" >&2; failed=1; }

(($# > 0)) || { echo "no files to compile" >&2; exit 2; }

# What the files include is compiled once for each compiler.
headers=$(mktemp -d)
trap 'rm -rf "$headers"' EXIT
grep -hE '^#include' "$@" | sort -u >"$headers/all.h"
options=(-std=c++20 -Wall -Wextra -Werror -I.)
g++ "${options[@]}" -x c++-header "$headers/all.h" -o "$headers/all.h.gch" &
clang++-19 "${options[@]}" -x c++-header "$headers/all.h" -o "$headers/all.h.pch"
wait $!
declare -A compile=(
  [gcc]="g++ ${options[*]} -fsyntax-only -include $headers/all.h"
  [clang]="clang++-19 ${options[*]} -fsyntax-only -include-pch $headers/all.h.pch"
)

for file in "$@"; do
  expected=0
  for name in gcc clang; do
    text=$(sed -n "s|^// $name: ||p" "$file")
    [[ -n $text ]] || continue
    expected=1
    ${compile[$name]} "$file" || complain "$file: $name does not compile what is right"
    if said=$(${compile[$name]} -DWRONG "$file" 2>&1); then
      complain "$file: $name compiles what is wrong"
    elif [[ $said != *"$text"* ]]; then
      complain "$file: $name does not say '$text' but: $said"
    fi
  done
  ((expected)) || complain "$file: names no error"
done
exit "$failed"
