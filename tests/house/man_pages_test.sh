#!/bin/bash
# man_pages_test.sh: the manual pages of this repository, and what its documents say of tests, are in order (man_pages.sh);
# what is broken one by one is not.
set -euo pipefail
source tests/house/broken_trees.sh

copy_tree() {
  mkdir -p "$scratch"/tree/{docs,kevent,tests/kevent}
  cp -r "$root/docs/man" "$root"/docs/{kevent,runtime}.md "$scratch/tree/docs/"
  cp "$root/kevent/kevent.h" "$scratch/tree/kevent/"
  cp "$root"/tests/kevent/*.cc "$scratch/tree/tests/kevent/"
  cp -r "$root"/tests/{model,runtime,examples,net,sim} "$scratch/tree/tests/"
}
test_of man_pages.sh

breaks rm docs/man/kevent_wait.3 'kevent_wait has no docs/man/kevent_wait.3'
breaks rm docs/man/kevent_wait.3 'refers to kevent_wait(3), which is not there'
breaks '/kevent_requeue(/d' kevent/kevent.h 'declares no kevent_requeue'
breaks 's/^\.El/&\n.Bogus/' docs/man/kevent_ctl.3 'unknown macro'
breaks 's/^\.It Bq Er EBUSY/.It Bq Er EXDEV\nNever.\n&/' docs/man/kevent_ctl.3 'EXDEV has no test'
breaks 's/kevent_cancel EALREADY/some other text/' tests/kevent/c_interface_test.cc 'EALREADY has no test'
breaks '/^\.It Bq Er EDEADLK/d' docs/man/kevent_destroy.3 'silent on EDEADLK'
breaks 's/CWait.NullWakesOneOrAll/CWait.NullWakesNobody/' docs/kevent.md 'there is no test CWait.NullWakesNobody'
breaks '/^| K14 |/d' docs/kevent.md 'no test shows K14'
breaks 's/TaskStack.TenMillionAwaitsInALoopAreFlat/TaskStack.TenMillionAwaitsGrow/' docs/runtime.md 'docs/runtime.md: there is no test TaskStack'
breaks 's/^TEST_P(TimeoutTest, AfterTheDeadline/&s/' tests/runtime/timeout_test.cc 'no test TimeoutTest.AfterTheDeadlineTheTaskIsStopped'
breaks 's@runtime/cpu_quota_test.cc@runtime/runtime_test.cc@' docs/runtime.md 'docs/runtime.md: does not name runtime/cpu_quota_test.cc'
breaks '/^| R13 |/d' docs/runtime.md 'docs/runtime.md: no test shows R13'
