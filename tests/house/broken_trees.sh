# broken_trees.sh: sourced by the test of a check that looks at a checkout. The checkout is in order, and what is broken
# in a copy of it is noticed. Whoever sources it defines copy_tree, which copies what the check reads from $root to the
# empty directory $scratch/tree.

# test_of SCRIPT: which one it is; this checkout has to be in order.
test_of() {
  script=$PWD/tests/house/$1
  root=$(dirname "$(readlink -f WORKSPACE)")
  "$script" "$root"
  scratch=$(mktemp -d "${TEST_TMPDIR:-/tmp}/broken_trees.XXXXXX")
  trap 'rm -rf "$scratch"' EXIT
}

# breaks SED FILE MESSAGE: with FILE edited by SED, or removed if that is "rm", the check fails and says MESSAGE.
breaks() {
  rm -rf "$scratch/tree"
  mkdir "$scratch/tree"
  copy_tree
  if [[ $1 == rm ]]; then rm "$scratch/tree/$2"; else sed -i "$1" "$scratch/tree/$2"; fi
  local output code=0
  output=$("$script" "$scratch/tree") || code=$?
  ((code == 1)) || { echo "not seen: $1 $2 (code $code)" >&2; exit 1; }
  grep -qF -- "$3" <<<"$output" || { echo "'$1 $2' is told as: $output" >&2; exit 1; }
}
