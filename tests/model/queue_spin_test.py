#!/usr/bin/env python3
"""queue_spin_test.py: spin searches the model of the waiting at a queue, queue.pml, whole: all that it can reach holds,
no step of it is out of reach, and each variant that breaks a rule is found. Its steps are the accesses that the sources
make, and come in their order.

    bazel test //tests/model:queue_spin_test            or, from the root of the repository:
    tests/model/queue_spin_test.py QueueSpin.test_each_size_holds
"""

import collections
import os
import pathlib
import re
import resource
import subprocess
import tempfile
import unittest

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
MODEL = HERE / "queue.pml"
MEMORY_MB = 4000
DEPTH = 100000  # no run is that long: pan says so if it is

# Threads wait for events: 3 for 3 in a ring of 2 slots, if it is not said otherwise (queue.pml).
SIZES = {
    "three for three": "",
    "three for three, of whom any may be cancelled": "-DDEATHS=3",
    "a deadline passes": "-DDEADLINES=1",
    "one reports again, and one is cancelled": "-DREGISTRATIONS=1 -DTIMES=3 -DDEATHS=1",
    "two report again, two wait again": "-DTHREADS=2 -DREGISTRATIONS=2 -DTIMES=2 -DEACH=2",
    "one slot": "-DSLOTS=1 -DDEATHS=1",
    "one or all are let go, and one is cancelled": "-DTHREADS=2 -DREGISTRATIONS=1 -DWAKES=1 -DSLOTS=4 -DDEATHS=1",
    "of three one or all are let go": "-DREGISTRATIONS=1 -DWAKES=1 -DRETURNS=0 -DALL_HAVE_LOOKED -DSLOTS=2",
}

DIES = "-DDEATHS=1"
AGAIN = "-DREGISTRATIONS=1 -DTIMES=3"
WAKES = "-DTHREADS=2 -DREGISTRATIONS=1 -DWAKES=1 -DSLOTS=4"

# Which rule a variant breaks, the size at which that is found, and by what.
BROKEN = {
    "CLAIMS_BEFORE_IT_COPIES": ("", "copy==written"),
    "CLAIMS_IN_TWO_STEPS": ("", "claimed"),
    "SHOWS_BEFORE_IT_CLAIMS": ("", "copy==written"),
    "SHOWS_WITHOUT_COMPARING": ("", "shown==next_"),
    "DOES_NOT_SHOW_BEFORE_IT_SLEEPS": ("", "tail!=before"),
    "SLEEPS_WITHOUT_LOOKING": ("", "invalid end state"),
    "FOLLOWER_SLEEPS_WITHOUT_LOOKING": ("", "invalid end state"),
    "DOES_NOT_HAND_ON": ("", "leader=="),
    "KEEPS_THE_LEAD": ("", "leader=="),
    "TWO_LEAD": ("", "leader=="),
    "LEADS_AWAKE": ("", "non-progress cycle"),
    "WAKES_TWO": ("", "woken"),
    "WAKES_AND_DOES_NOT_PROMOTE": ("", "standing"),
    "PROMOTES_AND_DOES_NOT_WAKE": ("", "invalid end state"),
    "DIES_IN_LINE": (DIES, "leader=="),
    "DIES_PROMOTED_AND_DOES_NOT_HAND_ON": (DIES, "leader=="),
    "DIES_LEADING_AND_DOES_NOT_HAND_ON": (DIES, "leader=="),
    "MARKS_WITHOUT_LOOKING": (AGAIN, "invalid end state"),
    "DOES_NOT_COME_WHEN_CALLED": (AGAIN, "invalid end state"),
    "KEEPS_THE_KICK": (WAKES, "owed==0"),
    "KEEPS_A_WAKE_THAT_IT_DOES_NOT_NEED": (WAKES, "owed==0"),
}

# What the sources do and the model does not.
LEFT_OUT = {
    "Announce_add": "the line for room, in which nothing stands here",
    "marked_load": "likewise",
    "IfNobodyWaits_lock": "how many events a wait needs does not change",
}

HEADERS = ["read_index.h", "return_stack.h", "turnstile.h"]
GIVEN = {"TryTake_tail", "TryTake_read", "Lead_state"}  # of queue.cc: what it gives TryTake() to do; what Lead() does

# What the steps of a call that queue.cc makes are in the model.
CALLS = {
    "ready()": ["ready_taken", "ready_state"],
    "Join()": ["Join_lock"],
    "waiter()->Sleep(": ["Sleep_load", "Sleep_wait", "Sleep_woken"],
    "Leave(": ["Leave_lock"],
    "TakeRelease()": ["leader_is_released_lock"],
    "ArmLine()": ["TakeAll_load", "TakeAll_and"],
    "Mark()": ["Mark_load", "Mark_swap"],
    "read_.taken()": ["taken_load"],
    "ShowTaken(": ["ShowTaken_load", "Show_load", "Show_swap"],
    " Sleep(": ["Enter_submit", "Enter_head", "Enter_queue", "Enter_tail", "Enter_woken"],
    "Unmark()": ["Unmark_and"],
    "tail = ring_->state()": ["Lead_state"],
    "HandOn(": ["HandOn_lock"],
    "TryTake(": ["TryTake_load", "TryTake_tail", "TryTake_read", "TryTake_swap", "Show_load", "Show_swap"],
    "ToRecord(": ["Push_load", "Push_swap"],
    "leader_is_released()": ["leader_is_released_lock"],
    "Kick(1)": ["Kick_lock"],
}
# Functions of queue.cc, and from which label to which they are in the model.
FUNCTIONS = {
    "Queue::Waited Queue::Next(": [("Next", "Takes"), ("Joins", "DiesInLine")],
    "Queue::Waited Queue::Lead(": [("Leads", "DiesLeading")],
    "  ~Place() {": [("DiesLeading", "HandsOn"), ("DiesInLine", "Leads"), ("HandsOn", "PassesOn")],
    "bool Queue::Take(": [("Takes", "Called"), ("Kicked", "Nothing")],
}

Search = collections.namedtuple("Search", "output errors states seconds megabytes statements unreached")


def run(command, folder):
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}")
    return done.stdout


def statements(sizes, folder):
    """All statements of the model at these sizes: (process, line, text)."""
    run(["spin", *sizes.split(), "-o3", "-a", MODEL.resolve()], folder)  # -o3: those that are done in one go as well
    found, process = set(), None
    for line in pathlib.Path(folder, "pan.m").read_text().splitlines():
        if match := re.search(r"/\* PROC (\w+) \*/", line):
            process = match[1]
        elif match := re.search(r"// STATE \d+ - \S*:(\d+) - \[(.*)\] \(", line):
            found.add((process, int(match[1]), match[2]))
    return found


def search(sizes, cycles=False, optimize="-O1"):
    """Searches queue.pml with these sizes, exhaustively, up to the first error. `cycles`: for runs that never end."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as folder:
        listed = statements(sizes, folder)
        run(["spin", *sizes.split(), "-a", MODEL.resolve()], folder)
        kind = ["-DNP", "-DNOSTUTTER"] if cycles else ["-DSAFETY"]
        run(["gcc", optimize, "-w", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MB}", *kind, "-o", "pan", "pan.c"], folder)
        output = run(["./pan", f"-m{DEPTH}", *(["-l"] if cycles else [])], folder)
    unreached, process = set(), None
    for line in output.splitlines():
        if match := re.match(r"unreached in proctype (\w+)", line):
            process = match[1]
        elif match := re.match(r'\s\S*:(\d+), state \d+, "(.*)"', line):
            unreached.add((process, int(match[1]), match[2]))

    def number(pattern):
        match = re.search(pattern, output)
        if not match:
            raise AssertionError(f"pan does not say {pattern}\n{output}")
        return float(match[1])

    return Search(
        output,
        int(number(r"errors: (\d+)")),
        int(number(r"([\d.e+]+) states, stored")),
        number(r"elapsed time ([\d.e+]+)"),
        number(r"([\d.]+)\s+total actual memory usage"),
        listed,
        unreached,
    )


def accesses(source):
    """The functions of a header, and their accesses to shared memory, as "Function_access", in their order."""
    short = {"compare_exchange_weak": "swap", "fetch_and": "and", "fetch_add": "add", "Lock": "lock"}
    functions, found, function = set(), [], None
    for line in source.splitlines():
        line = line.split("//")[0]
        if match := re.match(r"  (?!return|if|while|for)[\w\[\]<>:*& ]*?(\w+)\(.*\{", line):
            function = match[1]
            functions.add(function)
        for access in re.findall(r"\.(load|store|exchange|compare_exchange_\w+|fetch_\w+)\(|const (Lock) lock\(", line):
            access = "".join(access)
            found.append(f"{function}_{short.get(access, access)}")
    return functions, found


def difference(headers, model):
    """What the headers do and the model does not, or the other way round; or each in an order of its own."""
    steps = steps_of(model)
    functions, made = set(), []
    for source in headers.values():
        defined, of_header = accesses(source)
        functions |= defined
        made += [access for access in of_header if access not in LEFT_OUT]
    of_these = [step for step in steps if step.rsplit("_", 1)[0] in functions and step not in GIVEN]
    found = []
    for function in sorted(functions):
        of_code, of_model = (
            [access for access in all_of if access.rsplit("_", 1)[0] == function]
            for all_of in (made, list(dict.fromkeys(of_these)))
        )
        if of_code != of_model:
            found.append(f"{function}: {of_code} in the code, {of_model} in the model")
    return found


def steps_of(model):
    return ["".join(step) for step in re.findall(r"\bAT\((\w+)\)|\bWHEN\(.*?, (\w+)\)", model)]


def calls_difference(queue, model):
    """As difference(), of the calls that queue.cc makes of the headers, by function."""
    found = []
    for function, parts in FUNCTIONS.items():
        begin = queue.index(f"\n{function}")
        indent = re.match(" *", function)[0]
        body = queue[begin + len(function) : queue.index(f"\n{indent}}}\n", begin)]
        body = "\n".join(line.split("//")[0] for line in body.splitlines())
        made = sorted((match.start(), call) for call in CALLS for match in re.finditer(re.escape(call), body))
        of_code = [step for _, call in made for step in CALLS[call]]
        of_model = []
        for first, last in parts:
            of_model += steps_of(model[model.index(f"\n{first}:") : model.index(f"\n{last}:")])
        if of_code != of_model:
            found.append(f"{function}: {of_code} in the code, {of_model} in the model")
    return found


class QueueSpin(unittest.TestCase):
    def test_each_size_holds(self):
        listed, reached = set(), set()
        for name, sizes in SIZES.items():
            with self.subTest(name):
                found = search(sizes)
                print(f"{name}: {found.states} states, {found.seconds} s, {found.megabytes} MB", flush=True)
                self.assertEqual(found.errors, 0, found.output)
                for truncated in ["search depth too small", "not completed", "out of memory", "Bit state"]:
                    self.assertNotIn(truncated, found.output)
                self.assertGreater(len(found.statements), 100)
                listed |= found.statements
                reached |= found.statements - found.unreached
        never = {statement for statement in listed - reached if statement[2] not in ["-end-", "(1)"]}
        self.assertEqual(never, set(), "statements of queue.pml that no size reaches")

    def test_nobody_goes_round_for_ever(self):
        # The model makes no progress in a circle: a cycle is a thread that is kept awake for nothing.
        for sizes in ["", AGAIN, WAKES]:
            found = search(sizes, cycles=True)
            self.assertIn("non-progress cycles \t+", found.output)
            self.assertEqual(found.errors, 0, found.output)

    def test_each_broken_variant_is_found(self):
        declared = set(re.findall(r"\bBROKEN_(\w+)", MODEL.read_text()))
        self.assertEqual(declared, set(BROKEN), "the variants of queue.pml are those that are tried")
        for name, (sizes, what) in BROKEN.items():
            with self.subTest(name):
                found = search(f"{sizes} -DBROKEN_{name}", cycles="cycle" in what, optimize="-O0")
                first = next((line for line in found.output.splitlines() if line.startswith("pan:1:")), "nothing")
                print(f"{name}: {first}, after {found.states} states", flush=True)
                self.assertGreater(found.errors, 0, "went unnoticed")
                self.assertIn(what, first)

    def test_its_steps_are_those_of_the_headers(self):
        headers = {name: (ROOT / "kevent" / name).read_text() for name in HEADERS}
        self.assertEqual(difference(headers, MODEL.read_text()), [])
        # What it is good for: one access less, one more, two in the other order.
        for header, old, new in [
            ("read_index.h", "shown.compare_exchange_weak(", "Tell("),
            ("read_index.h", "do {\n", "do {\n      next_.load();\n"),
            ("return_stack.h", "word_.fetch_and(~kMark", "word_.store(0"),
            ("turnstile.h", "const Lock lock(mutex_);\n    if (leader_ == nullptr) {", "if (leader_ == nullptr) {"),
        ]:
            self.assertIn(old, headers[header])
            changed = {**headers, header: headers[header].replace(old, new)}
            self.assertNotEqual(difference(changed, MODEL.read_text()), [], new)

    def test_its_steps_come_in_the_order_of_the_queue(self):
        queue, model = (ROOT / "kevent/queue.cc").read_text(), MODEL.read_text()
        self.assertEqual(calls_difference(queue, model), [])
        for old, new in [
            ("if (marked_) queue_->returned_.Unmark();", ""),
            ("    read_.ShowTaken(ring_->read_index());\n    int rc;", "    int rc;"),
            ("if (place->TakeRelease()) return at_last(Waited::kWoken);", ""),
            ("      if (ToRecord(completion.user_data, completion.result, record)) return true;", "      return true;"),
        ]:
            self.assertIn(old, queue)
            self.assertNotEqual(calls_difference(queue.replace(old, new), model), [], old)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    unittest.main(verbosity=2)
