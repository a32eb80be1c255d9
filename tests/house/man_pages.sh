#!/bin/bash
# man_pages.sh ROOT: checks the manual pages of a checkout, and what docs/kevent.md and docs/runtime.md say of tests.
#
#   - mandoc finds nothing to warn of, and a page that another one refers to is there
#   - each call that kevent/kevent.h declares has its page in docs/man, and each page of section 3 is that of a call
#   - each error of a page has a test, each error that is tested stands in the page. A test in tests/kevent names both, as
#     "kevent_wait EINTR"; EXPECT_FAILS of c_interface_util.h checks the call and the errno against that text
#   - the table of docs/kevent.md has the rows K1 to K21, that of docs/runtime.md R1 to R14 without R12, and each test that
#     they name as `Suite.Test` is there, in a file that they name
#
# One line a violation. Leaves with 1 if there is one, with 2 if it could not look.
set -euo pipefail
export LC_ALL=C

(($# == 1)) || { sed -n '2s/^# /usage: /p' "$0" >&2; exit 2; }
cd "$1"
command -v mandoc >/dev/null || { echo "man_pages.sh: no mandoc: run ./setup.sh" >&2; exit 2; }

calls=$(sed -n 's/^[a-z].*[ *]\(kevent_[a-z_]*\)(.*/\1/p' kevent/kevent.h | sort -u)
[[ -n $calls ]] || { echo "man_pages.sh: kevent/kevent.h declares nothing" >&2; exit 2; }

check() {
  mandoc -Tlint -W warning docs/man/* 2>&1 | sed 's/^mandoc: //' || true

  local name page error section
  for name in $calls; do
    [[ -e docs/man/$name.3 ]] || echo "kevent/kevent.h: $name has no docs/man/$name.3"
  done
  for page in docs/man/*.3; do
    name=$(basename "$page" .3)
    grep -qx "$name" <<<"$calls" || echo "$page: kevent/kevent.h declares no $name"
    for error in $(sed -n 's/^\.It Bq Er //p' "$page"); do
      grep -qsw "$name $error" tests/kevent/*.cc || echo "$page: $error has no test that names \"$name $error\""
    done
  done
  while read -r name error; do
    grep -qsx ".It Bq Er $error" "docs/man/$name.3" || echo "docs/man/$name.3: is silent on $error, which a test names"
  done < <(grep -hosE '"kevent_[a-z_]+ E[A-Z]+' tests/kevent/*.cc | tr -d '"' | sort -u)
  while read -r name section; do
    [[ -e docs/man/$name.$section ]] || echo "docs/man: a page refers to $name($section), which is not there"
  done < <(sed -n 's/^\.Xr \(kevent[a-z_]*\) \([37]\).*/\1 \2/p' docs/man/* | sort -u)

  check_rows docs/kevent.md K{1..21}
  check_rows docs/runtime.md R{1..11} R13 R14
}

# The file of each test, as "Suite.Test".
declare -A file_of
while IFS='|' read -r file test; do
  file_of[$test]=$file
done < <(grep -rsoE '^TEST[_A-Z]*\([A-Za-z]+, [A-Za-z0-9]+\)' tests | sed -E 's/^tests\/([^:]*):[A-Z_]*\((.*), (.*)\)$/\1|\2.\3/')

# check_rows DOCUMENT ROW...: each row names a test; each test that the document names is there, and so is its file's name.
check_rows() {
  local document=$1 row test file
  shift
  for row; do
    grep -qE "^[|] $row [|].*(\`[A-Z][A-Za-z]+[.][A-Z]|_test[.]sh)" "$document" || echo "$document: no test shows $row"
  done
  while read -r test; do
    file=${file_of[$test]-}
    if [[ -z $file ]]; then
      echo "$document: there is no test $test"
    # By its name, or as one of several.
    elif ! grep -qE "$file|${file%/*}/[a-z_]*[*]" "$document"; then
      echo "$document: does not name $file, of $test"
    fi
  done < <(grep -oE '`[A-Z][A-Za-z]+[.][A-Z][A-Za-z0-9]+`' "$document" | tr -d '`' | sort -u)
}

violations=$(check)
[[ -z $violations ]] || { printf '%s\n' "$violations"; exit 1; }
