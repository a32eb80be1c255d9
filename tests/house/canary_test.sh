#!/bin/bash
# canary_test.sh: every rule of rules.sh holds on a small good tree, and fails, naming the line, once the tree breaks it.
# Method: a fresh copy of the tree for each case, one line added to one file.
set -euo pipefail

rules=$PWD/tests/house/rules.sh
scratch=$(mktemp -d "${TEST_TMPDIR:-/tmp}/canary.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cases=0

fail() { printf 'canary_test.sh: %s\n' "$*" >&2; exit 1; }

# Writes a checkout that keeps all rules to $scratch/good.
write_good_tree() {
  mkdir -p "$scratch"/good/{.ci,kevent,runtime/internal,net/http,examples,tests/net,bench}
  cd "$scratch/good"
  local header guard
  for header in kevent/ring.h runtime/task.h runtime/internal/deque.h net/tcp.h net/http/server.h; do
    guard=EVRING_$(tr 'a-z/.' 'A-Z__' <<<"$header")_
    printf '#ifndef %s\n#define %s\n#endif  // %s\n' "$guard" "$guard" "$guard" >"$header"
  done
  printf '#include <liburing.h>\n#include <sys/mman.h>\n#include "absl/status/status.h"\n#include "kevent/ring.h"\n' >kevent/ring.cc
  printf '#include <coroutine>\n#include "kevent/ring.h"\n#include "runtime/internal/deque.h"\n' >runtime/task.cc
  printf '// as io_uring_prep_recv(3) says\n#include "kevent/ring.h"\n#include "runtime/task.h"\n' >net/tcp.cc
  printf '#include <llhttp.h>\n#include "net/tcp.h"\n' >net/http/server.cc
  printf '#include "net/http/server.h"\n' >examples/echo.cc
  printf '#include <liburing.h>\n#include "gtest/gtest.h"\n#include "runtime/internal/deque.h"\n' >tests/net/tcp_test.cc
  printf '#include <liburing.h>\n#include "net/tcp.h"\n' >bench/raw.cc
  printf "readonly readme_command='make test'\n" >.ci/run
  printf 'Run `make test`; see [kevent](kevent/), [net](net/README.md#rules), [a site](https://example.com/x).\n' >README.md
  local file folder
  for folder in kevent runtime net examples tests bench; do echo "# $folder" >"$folder/README.md"; done
  for folder in kevent runtime net net/http examples tests/net bench; do touch "$folder/BUILD.bazel"; done
  while read -r file; do
    folder=$(dirname "$file")
    while [[ ! -e $folder/BUILD.bazel ]]; do folder=$(dirname "$folder"); done
    printf '"%s"\n' "${file#"$folder"/}" >>"$folder/BUILD.bazel"
  done < <(find . -name '*.h' -printf '%P\n' -o -name '*.cc' -printf '%P\n')
}

# A fresh copy of it in $scratch/tree, and the working directory there.
good_tree() {
  cd "$scratch"
  rm -rf tree
  cp -r good tree
  cd tree
}

# breaks RULE FILE LINE MESSAGE: with LINE at the end of FILE, RULE fails, names FILE and says MESSAGE.
breaks() {
  local rule=$1 file=$2 line=$3 message=$4 output
  good_tree
  printf '%s\n' "$line" >>"$file"
  if output=$("$rules" "$rule" .); then fail "rule '$rule' does not see '$line' in $file"; fi
  grep -qE "^$file:[0-9]+: .*$message" <<<"$output" || fail "rule '$rule' on '$line' in $file says: $output"
  (($(wc -l <<<"$output") == 1)) || fail "rule '$rule' on '$line' in $file says more than one thing: $output"
  cases=$((cases + 1))
}

# keeps RULE FILE LINE: LINE at the end of FILE is allowed.
keeps() {
  local rule=$1 file=$2 line=$3 output
  good_tree
  printf '%s\n' "$line" >>"$file"
  output=$("$rules" "$rule" .) || fail "rule '$rule' is against '$line' in $file: $output"
  cases=$((cases + 1))
}

write_good_tree
good_tree
for rule in layers includes listed readmes portable finished; do
  output=$("$rules" "$rule" .) || fail "rule '$rule' is against the good tree: $output"
done

breaks layers kevent/ring.cc '#include "runtime/task.h"' 'higher layer runtime/task.h'
breaks layers kevent/ring.h '#include <coroutine>' 'no coroutines'
breaks layers kevent/ring.cc '#include <openssl/ssl.h>' 'liburing and Abseil only'
breaks layers kevent/ring.cc '  #  include  "llhttp.h"' 'liburing and Abseil only'
breaks layers runtime/task.h '#include "net/tcp.h"' 'higher layer net/tcp.h'
breaks layers runtime/task.cc '#include "tests/net/helper.h"' 'higher layer tests/net/helper.h'
breaks layers runtime/task.cc '#include <llhttp.h>' 'HTTP belongs to net/http'
breaks layers net/tcp.cc '#include "examples/echo.h"' 'higher layer examples/echo.h'
breaks layers net/tcp.cc '#include <liburing.h>' 'through the runtime'
breaks layers net/http/server.h '#include <linux/io_uring.h>' 'through the runtime'
breaks layers net/tcp.cc '  io_uring_prep_recv(sqe, fd, data, size, 0);' 'names io_uring directly'
breaks layers net/tcp.cc '  if (flags & IORING_CQE_F_MORE) return;' 'names io_uring directly'
breaks layers net/tcp.cc '#include "sim/kernel.h"' 'depends on the simulator'
breaks layers runtime/task.cc '#include "sim/kernel.h"' 'depends on the simulator'
breaks layers examples/echo.cc '#include "liburing.h"' 'through the runtime'
breaks layers examples/echo.cc '#include "bench/raw.h"' 'higher layer bench/raw.h'
keeps layers runtime/task.cc '#include <liburing.h>'
keeps layers tests/net/tcp_test.cc '#include "examples/echo.h"'
keeps layers bench/raw.cc '  io_uring_prep_recv(sqe, fd, data, size, 0);'
keeps layers kevent/ring.cc '#include <linux/time_types.h>'

breaks includes runtime/task.cc '#include "task.h"' 'not a path from the root'
breaks includes runtime/task.cc '#include "../kevent/ring.h"' 'not a path from the root'
breaks includes net/tcp.cc '#include "runtime/internal/deque.h"' 'internal to runtime/'
keeps includes tests/net/tcp_test.cc '#include "runtime/internal/deque.h"'
good_tree
sed -i '1s/TASK/JOB/' runtime/task.h
output=$("$rules" includes .) && fail "rule 'includes' does not see a wrong guard"
[[ $output == 'runtime/task.h:1: has no guard EVRING_RUNTIME_TASK_H_' ]] || fail "a wrong guard is told as: $output"

breaks listed kevent/stray.cc '// nobody compiles this' 'not named'
breaks listed net/http/stray.h '// nobody compiles this' 'not named'

breaks readmes net/README.md 'see [rings](../kevent/rings.md)' 'leads to ../kevent/rings.md'
keeps readmes net/README.md 'see [ring.h](../kevent/ring.h) and [below](#below)'
keeps readmes net/README.md $'```cpp\nauto add = [](int x) { return x; };\n```'
breaks readmes net/README.md $'```cpp\nint x;\n```\n\nsee [rings](../kevent/rings.md)' 'leads to ../kevent/rings.md'
good_tree
rm bench/README.md
output=$("$rules" readmes .) && fail "rule 'readmes' does not see a folder without README.md"
[[ $output == 'bench/README.md:1: is missing' ]] || fail "a missing README.md is told as: $output"
good_tree
sed -i 's/make test/make check/' README.md
output=$("$rules" readmes .) && fail "rule 'readmes' does not see that the README lacks the command of .ci/run"
[[ $output == "README.md:1: does not give the command 'make test' of .ci/run" ]] || fail "a missing command is told as: $output"

# Put together here, so that this file keeps the rule it tests.
breaks portable README.md "see /wo""rk/main" 'path of one machine'
breaks portable runtime/task.cc "// seen in /ho""me/someone/evring" 'path of one machine'
breaks portable setup.sh "echo deb http://deb.debian"".org/debian" 'package registry'
breaks portable tests/net/tcp_test.cc "// registry.npm""js.org" 'package registry'
keeps portable README.md 'a framework/main, a /network/main and /usr/share/llhttp'

breaks finished kevent/ring.cc "// TO""DO: flush" 'not what is planned'
breaks finished net/tcp.h "// iss""ue 7" 'not what is planned'

if "$rules" nonsense . 2>/dev/null; then fail "an unknown rule passes"; fi
echo "$cases cases"
