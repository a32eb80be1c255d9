#!/bin/bash
# man_pages.sh ROOT: checks the manual pages of a checkout, and what docs/kevent.md says of its tests.
#
#   - mandoc finds nothing to warn of, and a page that another one refers to is there
#   - each call that kevent/kevent.h declares has its page in docs/man, and each page of section 3 is that of a call
#   - each error of a page has a test, each error that is tested stands in the page. A test in tests/kevent names both, as
#     "kevent_wait EINTR"; EXPECT_FAILS of c_interface_util.h checks the call and the errno against that text
#   - the table of docs/kevent.md has the rows K1 to K21, and each test that it names as `Suite.Test` is there
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

  local row suite test
  for row in {1..21}; do
    grep -qE "^[|] K$row [|].*(\`[A-Z][A-Za-z]+[.][A-Z]|_test[.]sh)" docs/kevent.md || echo "docs/kevent.md: no test shows K$row"
  done
  while IFS=. read -r suite test; do
    grep -rqsE "^TEST[_A-Z]*\($suite, $test\)" tests || echo "docs/kevent.md: there is no test $suite.$test"
  done < <(grep -oE '`[A-Z][A-Za-z]+[.][A-Z][A-Za-z0-9]+`' docs/kevent.md | tr -d '`' | sort -u)
}

violations=$(check)
[[ -z $violations ]] || { printf '%s\n' "$violations"; exit 1; }
