#!/bin/bash
# guide_test.sh: the code of the guide is that of its tests (guide.sh), and a guide that is broken in one place is noticed.
set -euo pipefail
source tests/house/broken_trees.sh

copy_tree() {
  mkdir -p "$scratch"/tree/{docs,tests}
  cp -r "$root/docs/guide" "$scratch/tree/docs/"
  cp -r "$root/tests/guide" "$scratch/tree/tests/"
}
test_of guide.sh

breaks 's/= n \* n;/= n + n;/' docs/guide/first_task.md 'docs/guide/first_task.md:6: this block does not stand in'
breaks 's/= n \* n;/= n * n * 1;/' tests/guide/first_task_test.cc 'docs/guide/first_task.md:6: this block does not stand in'
breaks 's/^\(EXPECT_EQ(\*square, 49);\)$/  \1/' docs/guide/first_task.md 'this block does not stand in'
breaks '/^```$/d' docs/guide/first_task.md 'this block has no end'
breaks '/^```cpp$/,/^```$/d' docs/guide/together.md 'docs/guide/together.md:1: has no code'
breaks rm tests/guide/together_test.cc 'there is no tests/guide/together_test.cc'
breaks rm docs/guide/together.md 'there is no docs/guide/together.md'
breaks 's/(together.md)/(simulation.md)/' docs/guide/README.md 'does not lead to together.md'
