#!/bin/bash
# repository_test.sh RULE: the repository that this test was built from keeps RULE of rules.sh.
# Reads the checkout itself, behind the links of Bazel's runfiles: a file that no BUILD file names is seen too.
set -euo pipefail

root=$(dirname "$(readlink -f WORKSPACE)")
[[ -e $root/setup.sh ]] || { echo "WORKSPACE leads to $root, which is not the checkout" >&2; exit 1; }
tests/house/rules.sh "$1" "$root"
