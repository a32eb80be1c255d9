#!/bin/bash
# c_layout_test.sh: c_layout.c holds for 32-bit programs too, checked by the compiler with -m32, nothing is linked or run.
# Debian's headers for this machine serve both; the one that only its 32-bit package has is an empty list of stubs.
set -euo pipefail

scratch=$(mktemp -d "${TEST_TMPDIR:-/tmp}/layout.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/gnu"
touch "$scratch/gnu/stubs-32.h"
compile=(gcc -m32 -std=c11 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Werror -fsyntax-only -I. -isystem "$scratch"
  -isystem "/usr/include/$(gcc -print-multiarch)")

"${compile[@]}" tests/kevent/c_layout.c
# It is a 32-bit program that was compiled, and the check can fail.
printf '_Static_assert(sizeof(void *) == 4, "32 bits");\n' | "${compile[@]}" -x c -
if sed 's/payload) == 24/payload) == 28/' tests/kevent/c_layout.c | "${compile[@]}" -x c - 2>/dev/null; then
  echo "a wrong offset passes" >&2
  exit 1
fi
