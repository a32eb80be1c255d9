#!/bin/bash
# compile_commands.sh: writes compile_commands.json at the root of the repository, for clangd and tools/tidy.sh.
#
#   tools/compile_commands.sh [TARGETS]    default: //...
#
# Run it again when a file or a dependency was added. It asks Bazel for the compile commands of the clang configuration
# (clangd does not know all of gcc's flags) and builds nothing. Paths into external repositories and generated files are
# written out absolutely, because Bazel runs the compiler in another directory; the file is therefore ignored by git.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v bazel >/dev/null || { echo "compile_commands.sh: error: no bazel: run ./setup.sh" >&2; exit 2; }
targets=${*:-//...}
actions=$(mktemp)
trap 'rm -f "$actions"' EXIT
bazel aquery --config=clang --output=jsonproto --noshow_progress --ui_event_filters=-info \
  "mnemonic('CppCompile', set($targets))" >"$actions"
python3 tools/compile_commands.py "$(bazel info --noshow_progress execution_root 2>/dev/null)" \
  "$(bazel info --noshow_progress output_base 2>/dev/null)" <"$actions" >compile_commands.json.new
mv compile_commands.json.new compile_commands.json
echo "compile_commands.sh: $(grep -c '"file"' compile_commands.json) files"
