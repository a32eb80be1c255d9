#!/bin/bash
# format.sh: formats every C++ file of the repository with the root's .clang-format.
#
#   tools/format.sh            rewrites what is not formatted
#   tools/format.sh --check    changes nothing; names each file that is not formatted and leaves with 1 if there is one
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'format.sh: error: %s\n' "$*" >&2; exit 2; }

command -v clang-format-19 >/dev/null || fail "no clang-format-19: run ./setup.sh"
case ${1-} in
  "") mode=(-i) ;;
  --check) mode=(--dry-run -Werror -ferror-limit=1) ;;
  *) fail "unknown argument '$1' (known: --check)" ;;
esac

# Every file in the tree, known to git or not; not what git ignores (Bazel's links).
mapfile -d '' -t files < <(git ls-files -z --cached --others --exclude-standard '*.h' '*.cc' '*.c')
# A file that is deleted but not yet committed as such is still listed.
existing=()
for file in "${files[@]}"; do [[ -e $file ]] && existing+=("$file"); done
((${#existing[@]} > 0)) || { echo "format.sh: no C++ files"; exit 0; }
clang-format-19 "${mode[@]}" "${existing[@]}" || exit 1
echo "format.sh: ${#existing[@]} files"
