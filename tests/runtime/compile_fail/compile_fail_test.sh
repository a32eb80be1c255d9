#!/bin/bash
# compile_fail_test.sh FILE...: uses that the type system refuses. Each file compiles as it is, without a warning, with
# gcc and with clang; with WRONG defined it does not, and the compiler's words contain what the file names in a line
# "// gcc: ..." or "// clang: ...". gcc says nothing of a result of co_await that is dropped: such files name clang only.
# Nothing is linked or run.
set -euo pipefail

failed=0
complain() { printf '%s\n' "$*" >&2; failed=1; }

(($# > 0)) || { echo "no files to compile" >&2; exit 2; }
for file in "$@"; do
  expected=0
  for name in gcc clang; do
    text=$(sed -n "s|^// $name: ||p" "$file")
    [[ -n $text ]] || continue
    expected=1
    compiler=g++
    [[ $name == gcc ]] || compiler=clang++-19
    compile=("$compiler" -std=c++20 -Wall -Wextra -Werror -fsyntax-only -I.)
    "${compile[@]}" "$file" || complain "$file: $compiler does not compile what is right"
    if said=$("${compile[@]}" -DWRONG "$file" 2>&1); then
      complain "$file: $compiler compiles what is wrong"
    elif [[ $said != *"$text"* ]]; then
      complain "$file: $compiler does not say '$text' but: $said"
    fi
  done
  ((expected)) || complain "$file: names no error"
done
exit "$failed"
