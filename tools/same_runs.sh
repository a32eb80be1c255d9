#!/bin/bash
# same_runs.sh [BAZEL FLAG…]: shows that a simulated run is a function of its seed: three hundred of them have the same
# digests built with gcc and with clang, or whatever the flags say instead of --config=clang. Prints the first that differ,
# if any, and leaves with 1.
set -euo pipefail
cd "$(dirname "$0")/.."

digests() { bazel run --ui_event_filters=-info,-stdout,-stderr --noshow_progress "$@" //tests/sim:digests; }

gcc=$(digests)
(($# != 0)) || set -- --config=clang
other=$(digests "$@")
if ! diff <(echo "$gcc") <(echo "$other") | head -20; then
  echo "same_runs.sh: gcc (<) and $* (>) disagree" >&2
  exit 1
fi
echo "same_runs.sh: $(grep -c '^seed' <<<"$gcc") runs, the same with gcc and $*"
