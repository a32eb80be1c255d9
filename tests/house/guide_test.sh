#!/bin/bash
# guide_test.sh: the code of the guide is that of its tests (guide.sh), and a guide that is broken in one place is noticed.
set -euo pipefail

guide=$PWD/tests/house/guide.sh
root=$(dirname "$(readlink -f WORKSPACE)")
"$guide" "$root"

scratch=$(mktemp -d "${TEST_TMPDIR:-/tmp}/guide.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

# breaks SED FILE MESSAGE: with FILE edited by SED, or removed if that is "rm", the check fails and says MESSAGE.
breaks() {
  rm -rf "$scratch/tree"
  mkdir -p "$scratch"/tree/{docs,tests}
  cp -r "$root/docs/guide" "$scratch/tree/docs/"
  cp -r "$root/tests/guide" "$scratch/tree/tests/"
  if [[ $1 == rm ]]; then rm "$scratch/tree/$2"; else sed -i "$1" "$scratch/tree/$2"; fi
  local output code=0
  output=$("$guide" "$scratch/tree") || code=$?
  ((code == 1)) || { echo "not seen: $1 $2 (code $code)" >&2; exit 1; }
  grep -qF -- "$3" <<<"$output" || { echo "'$1 $2' is told as: $output" >&2; exit 1; }
}

breaks 's/= n \* n;/= n + n;/' docs/guide/first_task.md 'docs/guide/first_task.md:6: this block does not stand in'
breaks 's/= n \* n;/= n * n * 1;/' tests/guide/first_task_test.cc 'docs/guide/first_task.md:6: this block does not stand in'
breaks 's/^\(EXPECT_EQ(\*square, 49);\)$/  \1/' docs/guide/first_task.md 'this block does not stand in'
breaks '/^```$/d' docs/guide/first_task.md 'this block has no end'
breaks '/^```cpp$/,/^```$/d' docs/guide/together.md 'docs/guide/together.md:1: has no code'
breaks rm tests/guide/together_test.cc 'there is no tests/guide/together_test.cc'
breaks rm docs/guide/together.md 'there is no docs/guide/together.md'
breaks 's/(together.md)/(simulation.md)/' docs/guide/README.md 'does not lead to together.md'
