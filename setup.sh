#!/bin/bash
# setup.sh: installs the Debian 12 packages that the build, the tests and the examples need. Nothing else is touched.
#
#   ./setup.sh             what `bazel build //...`, `bazel test //...` and `.ci/run` need
#   ./setup.sh --browser   the same and Chromium, for the browser test (see tests/README.md)
#
# Runs as root or through sudo, asks nothing, may be run again at any time: with nothing missing it only reads dpkg's
# list (no apt, well under a second). The build needs no network once this has run. Leaves with 0 when every package is
# installed, with 1 and a reason otherwise.
set -euo pipefail

packages=(
  # Build tool. The four repositories are what Bazel 4 would otherwise download, see WORKSPACE.
  bazel-bootstrap bazel-platforms bazel-rules-java bazel-rules-proto bazel-skylib
  # Compilers: gcc is the default, clang is `--config=clang` and what the sanitizers run on (llvm-19: their symbolizer).
  g++ clang-19 lld-19 libclang-rt-19-dev llvm-19
  # Libraries, each with a BUILD file in third_party/.
  liburing-dev libabsl-dev googletest libbenchmark-dev node-llhttp
  # What the benchmarks compare with.
  libevent-dev
  # Programs that tests run against the servers.
  curl wrk
  # The model checker of tests/model; it compiles what it generates with gcc.
  spin
  # Programs of .ci/ and tools/.
  clang-format-19 clang-tidy-19 git mandoc python3
)

say() { printf 'setup.sh: %s\n' "$*"; }
fail() { printf 'setup.sh: error: %s\n' "$*" >&2; exit 1; }

for argument in "$@"; do
  case $argument in
    --browser) packages+=(chromium fonts-liberation) ;;
    -h | --help) sed -n '2,/^set /{s/^# \{0,1\}//;/^set /!p}' "$0"; exit 0 ;;
    *) fail "unknown argument '$argument' (known: --browser, --help)" ;;
  esac
done

[[ -r /etc/os-release ]] || fail "no /etc/os-release: this is not Debian 12"
system=$(. /etc/os-release && printf '%s %s' "${ID:-unknown}" "${VERSION_ID:-unknown}")
[[ $system == "debian 12" ]] || fail "made for Debian 12; this is '$system'"

# Prints those of `packages` that are not installed, one a line.
missing_packages() {
  comm -13 <(dpkg-query --show --showformat='${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort -u) \
    <(printf '%s\n' "${packages[@]}" | sort -u)
}

mapfile -t missing < <(missing_packages)
if ((${#missing[@]} == 0)); then
  say "nothing to install: all ${#packages[@]} packages are there"
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  command -v sudo >/dev/null || fail "needs root to install: ${missing[*]} (you are not root and there is no sudo)"
  as_root=(sudo)
  [[ -t 0 ]] || as_root+=(--non-interactive)  # without a terminal a password prompt would hang or confuse
  "${as_root[@]}" true || fail "needs root to install: ${missing[*]} (sudo refused)"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Runs apt-get quietly; what it said is shown only when it fails.
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get --yes -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
    "$@" </dev/null >"$log" 2>&1 || {
    tail -n 30 "$log" >&2
    fail "'apt-get $1' failed, its last lines are above; wanted: ${missing[*]}"
  }
}

say "installs ${#missing[@]} packages and what they depend on: ${missing[*]}"
say "a first time takes some minutes"
apt update
apt install --no-install-recommends "${missing[@]}"

mapfile -t missing < <(missing_packages)
((${#missing[@]} == 0)) || fail "apt-get left these uninstalled: ${missing[*]}"
say "done"
