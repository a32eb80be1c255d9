#!/bin/bash
# rules.sh RULE ROOT: checks one house rule on every file below ROOT, a checkout. Reads files, runs nothing.
#
#   layers     kevent <- runtime <- net <- examples: a file includes its own layer and lower ones; tests and bench are free.
#              sim stands beside net, on the runtime; of the layers only examples may include it.
#              kevent has no coroutines and needs liburing and Abseil only; net and examples never touch io_uring itself.
#   includes   files of the repository are included from its root, internal/ only by its own folder and the tests, and
#              each header has the guard that its path prescribes.
#   listed     each C++ file is named in its folder's BUILD.bazel, so that it is compiled and its header checked.
#   readmes    each folder of the root has a README.md, every relative link in a Markdown file, but in a block of code, leads to a file, and README.md
#              gives the command that .ci/run calls.
#   portable   no path of one machine, no host name of a package registry.
#   finished   no TODO, FIXME, XXX and no number of an issue in a source file.
#
# One line a violation: file:line: what is wrong. Leaves with 1 if there is one, with 2 if the call is wrong.
# Called by repository_test.sh on this repository and by canary_test.sh on trees that break each rule.
set -euo pipefail
export LC_ALL=C

usage() { sed -n '2s/^# /usage: /p' "$0" >&2; exit 2; }

(($# == 2)) || usage
rule=$1
cd "$2"

# The files of the checkout, one a line, without what .gitignore names; arguments: further conditions of find.
files() {
  find . \( -path ./.git -o -path './bazel-*' -o -path './compile_commands.json*' -o -path ./.cache -o -path ./.clangd \) \
    -prune -o -type f "$@" -printf '%P\n' | sort
}
sources() { files \( -name '*.h' -o -name '*.cc' -o -name '*.c' \); }

# Prints "file:line:path" of each #include in the given files; with the delimiter in front: "path or <path.
includes_of() {
  grep -HnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*["<]' "$@" /dev/null |
    sed -E 's/^([^:]*:[0-9]+:)[^"<]*(["<][^">]*).*/\1\2/' || true
}

# The number of a layer; tests and bench stand above all of them.
layer_of() {
  case $1 in
    kevent/*) echo 0 ;;
    runtime/* | sim/*) echo 1 ;;
    net/*) echo 2 ;;
    examples/*) echo 3 ;;
    bench/* | tests/*) echo 4 ;;
    *) echo none ;;
  esac
}

rule_layers() {
  local -a all
  mapfile -t all < <(sources)
  ((${#all[@]} > 0)) || return 0
  local file line path own other
  while IFS=: read -r file line path; do
    own=$(layer_of "$file")
    [[ $own != none && $own != 4 ]] || continue
    path=${path:1}
    other=$(layer_of "$path")
    if [[ $other != none ]]; then
      ((other <= own)) || echo "$file:$line: includes the higher layer $path"
      [[ $path != sim/* || $file == sim/* || $own == 3 ]] || echo "$file:$line: depends on the simulator, $path"
      continue
    fi
    case $own:$path in
      0:coroutine) echo "$file:$line: kevent has no coroutines, includes <$path>" ;;
      0:liburing.h | 0:liburing/* | 0:absl/* | 0:linux/* | 0:sys/* | 0:netinet/* | 0:arpa/* | 0:bits/*) ;;
      0:sanitizer/*) ;;  # the compiler's own
      0:*/* | 0:llhttp.h) echo "$file:$line: kevent needs liburing and Abseil only, includes $path" ;;
      [23]:liburing.h | [23]:liburing/* | [23]:linux/io_uring.h)
        echo "$file:$line: reach opcodes through the runtime, not through $path" ;;
      1:llhttp.h) echo "$file:$line: HTTP belongs to net/http, includes $path" ;;
    esac
  done < <(includes_of "${all[@]}")

  # An included header of the runtime brings io_uring's names along: they stay unused above it. Comments may name them.
  for file in "${all[@]}"; do
    case $file in
      net/* | examples/*)
        sed 's@//.*@@' "$file" | { grep -nE '\b(io_uring_[a-z]|IORING_|IOSQE_)' || true; } |
          sed -E "s@^([0-9]+):.*@$file:\1: names io_uring directly; reach it through the runtime@" ;;
    esac
  done
}

rule_includes() {
  local -a all
  mapfile -t all < <(sources)
  ((${#all[@]} > 0)) || return 0
  local file line path folder guard
  while IFS=: read -r file line path; do
    [[ $path == \"* ]] || continue
    path=${path:1}
    case $path in
      absl/* | gtest/* | gmock/* | benchmark/* | liburing.h | liburing/* | llhttp.h) continue ;;
    esac
    if [[ $path == ../* || $path == ./* || ! -e $path ]]; then
      echo "$file:$line: \"$path\" is not a path from the root of the repository"
    elif [[ $path == */internal/* ]]; then
      folder=${path%%/internal/*}
      [[ $file == "$folder"/* || $file == tests/* ]] || echo "$file:$line: $path is internal to $folder/"
    fi
  done < <(includes_of "${all[@]}")

  for file in "${all[@]}"; do
    [[ $file == *.h ]] || continue
    guard=EVRING_$(tr 'a-z/.-' 'A-Z___' <<<"$file")_
    if ! grep -qx "#ifndef $guard" "$file" || ! grep -qx "#define $guard" "$file"; then
      echo "$file:1: has no guard $guard"
    fi
  done
}

rule_listed() {
  local file folder
  while read -r file; do
    folder=$(dirname "$file")
    # A folder without a BUILD.bazel belongs to the package above it.
    while [[ ! -e $folder/BUILD.bazel && $folder != . ]]; do folder=$(dirname "$folder"); done
    if [[ $folder == . ]] || ! grep -qF "\"${file#"$folder"/}\"" "$folder/BUILD.bazel"; then
      echo "$file:1: is not named in a BUILD.bazel"
    fi
  done < <(sources)
}

rule_readmes() {
  local file folder line link
  for folder in */; do
    [[ $folder == bazel-* || -e ${folder}README.md ]] || echo "${folder}README.md:1: is missing"
  done
  local command
  command=$(sed -n "s/^readonly readme_command='\(.*\)'$/\1/p" .ci/run)
  if [[ -z $command ]]; then
    echo ".ci/run:1: names no command of the README"
  elif ! grep -qsF "$command" README.md; then
    echo "README.md:1: does not give the command '$command' of .ci/run"
  fi
  while read -r file; do
    while IFS=: read -r line link; do
      link=${link#](}
      link=${link%%[)# ]*}
      [[ -z $link || $link == *://* || $link == mailto:* || -e $(dirname "$file")/$link ]] ||
        echo "$file:$line: leads to $link, which is not there"
    done < <(sed '/^```/,/^```$/s/.*//' "$file" | grep -noE '\]\([^)]*\)?' || true)
  done < <(files -name '*.md')
}

# The patterns are spelled so that they do not match this file.
rule_portable() {
  local -a all
  mapfile -t all < <(files)
  local hosts='(deb|security|snapshot|ftp[.a-z]*)[.]debian[.]org|registry[.](npmjs|yarnpkg)|pypi[.]org|pythonhosted[.]org'
  hosts+='|crates[.]io|proxy[.]golang|(repo1?|central)[.](maven|sonatype)|mirror[.]bazel|bcr[.]bazel|[.]pkg[.]dev'
  hosts+='|(docker|ghcr|quay|gcr)[.]io|art[i]factory|node[s]ource'
  local paths='(^|[^[:alnum:]_.-])/(work/(main|shared|[.])|tmp/ev(/|$)|farm/|root/|home/[a-z]|Users/[a-z]|mnt/[a-z])'
  grep -HnIE "$hosts" "${all[@]}" /dev/null | sed -E 's/^([^:]*:[0-9]+):(.*)/\1: names a package registry: \2/' || true
  grep -HnIE "$paths" "${all[@]}" /dev/null | sed -E 's/^([^:]*:[0-9]+):(.*)/\1: names a path of one machine: \2/' || true
}

rule_finished() {
  local -a all
  mapfile -t all < <(files ! -path './tests/house/*')
  grep -HnIwE 'T[O]DO|FIX[M]E|X[X]X|[Ii]ssue #?[0-9]+' "${all[@]}" /dev/null |
    sed -E 's/^([^:]*:[0-9]+):(.*)/\1: says what is true now, not what is planned: \2/' || true
}

declare -F "rule_$rule" >/dev/null || usage
violations=$("rule_$rule")
[[ -z $violations ]] || { printf '%s\n' "$violations"; exit 1; }
