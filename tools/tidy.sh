#!/bin/bash
# tidy.sh: clang-tidy with the root's .clang-tidy; leaves with 1 if it finds anything.
#
#   tools/tidy.sh            every source file of the repository that Bazel compiles, with the headers it includes
#   tools/tidy.sh FILE...    these source files
#
# Takes the compile commands from compile_commands.json; without FILE it writes that first.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'tidy.sh: error: %s\n' "$*" >&2; exit 2; }

command -v clang-tidy-19 >/dev/null || fail "no clang-tidy-19: run ./setup.sh"
files=("$@")
if ((${#files[@]} == 0)); then
  tools/compile_commands.sh
  mapfile -t files < <(sed -n 's/^ *"file": "\(.*\)",$/\1/p' compile_commands.json)
fi
[[ -e compile_commands.json ]] || fail "no compile_commands.json: run tools/compile_commands.sh"
((${#files[@]} > 0)) || fail "compile_commands.json names no file"

# What clang-tidy says of warnings in system headers, which it then does not show, is left out.
printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$(nproc)" clang-tidy-19 -p . --quiet \
  2> >(grep -v '^[0-9]* warnings\? generated\.$' >&2) || exit 1
echo "tidy.sh: ${#files[@]} files"
