"""tally.py: counts the test cases of one `bazel test` run.

Arguments: Bazel's exit code and its directory of test logs. Standard input: what Bazel printed. Prints three numbers: passed,
failed, skipped. A test program counts by the cases in its test.xml; one that failed counts as at least one failure, whatever
its test.xml says; a run that failed without a failed test (the build broke, time ran out) or ran no test is one failure.
"""

import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree

# "//tests/net:tcp_test      (cached) PASSED in 0.3s": one line a test program, at the end of the run.
_RESULT = re.compile(r"^//(\S*):(\S+)\s+(?:\(cached\) )?(PASSED|[A-Z][A-Z ]*[A-Z])\b")


def cases(directory):
    """Passed, failed and skipped test cases in the test.xml files below a test program's directory of logs."""
    passed = failed = skipped = 0
    for path in directory.glob("**/test.xml"):
        try:
            root = ElementTree.parse(path).getroot()
        except ElementTree.ParseError:
            continue
        for case in root.iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                failed += 1
            elif case.find("skipped") is not None or case.get("status") == "notrun":
                skipped += 1
            else:
                passed += 1
    return passed, failed, skipped


def tally(code, logs, output):
    """Passed, failed and skipped test cases of the whole run."""
    results = {}
    for line in output:
        match = _RESULT.match(line)
        if match:
            results[match[1], match[2]] = match[3]
    total = [0, 0, 0]
    for (package, name), result in results.items():
        passed, failed, skipped = cases(logs / package / name) if "BUILD" not in result else (0, 0, 0)
        if result != "PASSED":
            failed = max(failed, 1)
        elif passed + failed + skipped == 0:
            passed = 1
        total = [sum(pair) for pair in zip(total, (passed, failed, skipped))]
    if total[1] == 0 and (code != 0 or not results):
        total[1] = 1
    return total


if __name__ == "__main__":
    print(*tally(int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.stdin))
