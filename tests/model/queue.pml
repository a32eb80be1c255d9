/* queue.pml: the waiting at a kevent::Queue as a model for spin(1): Next(), Lead(), Take(), Wake() and the end of a
   wait (kevent/queue.cc), with turnstile.h, read_index.h and return_stack.h, some threads and a kernel, in all
   interleavings.

   Who runs it: queue_spin_test.py, which says with which sizes, and what each broken variant breaks.

   A step is what the code does in one access to memory that threads share, and AT() names it: a load, a
   compare-and-swap, a record that is copied. What touches nothing but what a lock guards is one step, from lock to
   unlock: others cannot tell. So is the kernel's look for room and its record there, for room that is there stays. A
   kick may come into the ring after the call that made it, which is more than Linux does. Steps are sequentially
   consistent; what weaker orders add is left to queue_model_test.cc, which explores the code itself, but three threads
   with three events only with few preemptions.

   What must hold:
     H1  a record is taken by one thread, and is what the kernel has written for that index
     H2  nobody is left behind. While somebody is in line somebody leads. When nothing moves any more, who still waits
         sleeps, by an empty ring, with no event to come and nothing to arm; and who was let go has gone
     H3  a thread is woken once: a follower to lead or to go. The leader is woken only if something has come since it
         looked
     H4  one thread at a time sleeps in the kernel: a completion wakes one at most
     H5  at the end the kernel knows of all that has been taken

   A thread that is cancelled (pthread_cancel(3)) ends at the code's cancellation points: before it looks for a record,
   and on its way into a sleep, in it and out of it. Left out: signals and masks, min_events above one, an overflow of
   the ring (the kernel waits for room here), and the line for that room (the explorer's RoomIsMade). */

/* The sizes. */
#ifndef THREADS
#define THREADS 3
#endif
#ifndef REGISTRATIONS
#define REGISTRATIONS 3
#endif
#ifndef TIMES     /* that each of them reports; it is armed again when its record has been consumed */
#define TIMES 1
#endif
#ifndef RETURNS   /* 0: without the return stack, for sizes that would be too large with it */
#define RETURNS 1
#endif
#ifndef EACH      /* waits of each thread, one after the other */
#define EACH 1
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef DEATHS    /* threads that may be cancelled */
#define DEATHS 0
#endif
#ifndef DEADLINES /* waits whose deadline may pass */
#define DEADLINES 0
#endif
#ifndef WAKES     /* calls of Wake(), of one or of all */
#define WAKES 0
#endif

#define EVENTS (REGISTRATIONS * TIMES)
#if WAKES > 0
#define INDEXES (EVENTS + 2 * (WAKES + THREADS * EACH))
#else
#define INDEXES EVENTS
#endif
#define NOBODY THREADS
#define KICK REGISTRATIONS /* a completion that is no record */

/* The access that a step is, by function: the test compares them with the sources. WHEN(): a step that may have to
   wait. */
#define AT(access)
#define WHEN(condition, access) (condition) ->

/* Which of the armed completes. If each reports once they are alike: in their order. */
#if TIMES > 1
#define AFTER(before) true
#else
#define AFTER(before) !armed[before]
#endif
#if WAKES > 0     /* then threads may wait for ever */
#define Asleep endAsleep
#define OnFutex endOnFutex
#endif

/* The ring, and the kernel's side of it. */
byte slot[SLOTS];
byte tail;
byte shown;            /* the read index that the kernel knows */
bool armed[REGISTRATIONS] = true;
byte due = REGISTRATIONS; /* of those, and kicks */
byte kicks;            /* submitted and not in the ring */
byte asleep;           /* the leader: it is in the wait queue; it has looked once more, and sleeps */
#define kQueued 1
#define kSleeps 2
byte awaited;          /* the leader sleeps until the write index is not this */

/* read_index.h */
byte next_;

/* return_stack.h: the number of the topmost plus one, and two bits. */
byte word;
byte below[REGISTRATIONS];
byte reports[REGISTRATIONS]; /* reported */
#define kMark 1
#define kCalled 2
#define Top(w) ((w) >> 2)

/* The submission side of the ring, with the queue's lock. */
byte lock = NOBODY;
chan submissions = [REGISTRATIONS] of { byte };

/* turnstile.h */
byte leader = NOBODY;
byte line[THREADS];
byte in_line;
#define kOutside 0
#define kInLine 1
#define kLeads 2
#define kReleased 3
byte standing[THREADS];
bool released[THREADS];

/* queue_waiter.h */
bool woken[THREADS];
bool on_futex[THREADS];

/* For the checks, and what bounds the run. */
byte written[INDEXES];
bool claimed[INDEXES];
byte owed;             /* threads that have been let go and have not gone */
byte gone;             /* threads that have ended */
byte begun, deaths, deadlines, wakes;

/* Within a step: no part of the state. */
hidden byte i, who;
hidden byte kicks_leader;

inline WakeUp(waiter) { /* QueueWaiter::Wake() */
  assert(!woken[waiter]); /* H3 */
#ifndef BROKEN_PROMOTES_AND_DOES_NOT_WAKE
  woken[waiter] = true;
  on_futex[waiter] = false
#endif
}

inline BecomeLeader(waiter) {
  standing[waiter] = kLeads;
  released[waiter] = false;
  leader = waiter
}

/* From place `i` of the line. */
inline Unlink() {
  do
  :: i + 1 < in_line -> line[i] = line[i + 1]; i++
  :: else -> break
  od;
  in_line--;
  line[in_line] = 0
}

inline UnlinkFirst() {
  who = line[0];
  i = 0;
  Unlink()
}

inline UnlinkMe() {
  i = 0;
  do
  :: line[i] != _pid -> i++
  :: else -> break
  od;
  Unlink();
  standing[_pid] = kOutside
}

inline ReleaseFirst() {
  UnlinkFirst();
  standing[who] = kReleased;
  owed++;
  WakeUp(who)
}

inline ReleaseLeader() {
  if
  :: leader != NOBODY && !released[leader] -> released[leader] = true; kicks_leader = true; owed++
  :: else -> skip
  fi
}

inline ReleaseOne() {
  kicks_leader = false;
  if
  :: in_line > 0 -> ReleaseFirst()
  :: else -> ReleaseLeader()
  fi
}

inline ReleaseAll() {
  kicks_leader = false;
  do
  :: in_line > 0 -> ReleaseFirst()
  :: else -> ReleaseLeader(); break
  od
}

inline TakeAll() {
  who = Top(word);
  word = word & kMark;
  do
  :: who > 0 ->
    i = who - 1;
    who = below[i];
    below[i] = 0
#if TIMES > 1
    ;
    if
    :: reports[i] < TIMES -> submissions ! i
    :: else -> skip
    fi
#endif
  :: else -> break
  od
}

/* io_uring_enter(2) with `n` submissions: `n` is how many it did not find. */
inline Submit(n) {
  do
  :: n > 0 && len(submissions) > 0 -> submissions ? i; armed[i] = true; due++; n--
  :: n == 0 || len(submissions) == 0 -> break
  od
}

inline SubmitAll() {
#if TIMES > 1
  do
  :: len(submissions) > 0 -> submissions ? i; armed[i] = true; due++
  :: len(submissions) == 0 -> break
  od
#else
  skip
#endif
}

/* --- A thread that waits ---------------------------------------------------------------------------------------- */

active [THREADS] proctype Thread() {
  byte at;             /* the index that was loaded */
  byte copy;           /* the record */
  byte seen;           /* what else was loaded */
  byte before;         /* taken, before the sleep */
  byte n;              /* to be submitted with the sleep */
  byte take;           /* where Take() is called from */
#define kFirst 0
#define kLeader 1
#define kAtLast 2
  bool leads, going, kicked, again, late;
#if EACH > 1
  byte waits = EACH;
#endif

  atomic { begun == _pid -> begun++ }; /* threads are alike: the first to begin is called the first */
#ifdef ALL_HAVE_LOOKED /* for a record, before there was one: for sizes that would be too large else */
  goto Joins;
#endif
Next:
#if DEATHS > 0
  if
  :: atomic { deaths < DEATHS -> deaths++; goto Gone }
  :: skip
  fi;
#endif
  atomic { AT(ready_taken) at = next_ };
  atomic { /* W1 */
    AT(ready_state)
    if
    :: tail == at -> at = 0; goto Joins
    :: else -> take = kFirst
    fi
  };

/* Queue::Take() */
Takes:
  atomic { AT(TryTake_load) at = next_ };
TryTake:
  atomic { /* C1 */
    AT(TryTake_tail)
    if
    :: tail == at -> goto Nothing
    :: else -> skip
    fi
  };
#ifndef BROKEN_CLAIMS_BEFORE_IT_COPIES
  atomic { /* C2 */
    AT(TryTake_read)
    copy = slot[at % SLOTS];
#if WAKES > 0
    if
    :: kicked && copy == KICK -> goto Nothing
    :: else -> skip
    fi
#endif
  };
#endif
#ifdef BROKEN_SHOWS_BEFORE_IT_CLAIMS
  atomic {
    if
    :: shown == at -> shown = at + 1
    :: else -> skip
    fi
  };
#endif
#ifdef BROKEN_CLAIMS_IN_TWO_STEPS
  atomic {
    if
    :: next_ == at -> skip
    :: else -> at = next_; goto TryTake
    fi
  };
  next_ = at + 1;
#else
  atomic { /* C3 */
    AT(TryTake_swap)
    if
    :: next_ == at -> next_ = at + 1
    :: else -> at = next_; copy = 0; goto TryTake
    fi
  };
#endif
#ifdef BROKEN_CLAIMS_BEFORE_IT_COPIES
  copy = slot[at % SLOTS];
#endif
  atomic { /* C4 */
    AT(Show_load)
    assert(!claimed[at]); /* H1 */
    assert(copy == written[at]);
    written[at] = 0;
    claimed[at] = true;
    seen = shown;
#ifndef BROKEN_SHOWS_WITHOUT_COMPARING
    if
    :: at + 1 <= seen -> goto Shown
    :: else -> skip
    fi
#endif
  };
Show:
  atomic {
    AT(Show_swap)
#ifdef BROKEN_SHOWS_WITHOUT_COMPARING
    shown = at + 1
#else
    if
    :: shown == seen -> shown = at + 1
    :: else ->
      seen = shown;
      if
      :: at + 1 <= seen -> skip
      :: else -> goto Show
      fi
    fi
#endif
  };
Shown:
#if WAKES > 0
  if
  :: atomic { copy != KICK -> at = 0; seen = 0 }
  :: atomic { copy == KICK && leads -> at = 0; copy = 0; seen = 0; goto Takes }
  :: atomic { copy == KICK && !leads -> at = 0; copy = 0; seen = 0; goto Kicked }
  fi;
#endif
#if RETURNS == 0
  atomic { reports[copy]++; copy = 0; kicked = false; goto Taken };
#else
  atomic { /* B1: Push() */
    AT(Push_load)
    at = 0;
    seen = word;
    reports[copy]++
#if TIMES > 1
    ;
    again = (reports[copy] < TIMES)
#endif
  };
Push:
  atomic {
    AT(Push_swap)
    if
    :: word != seen -> seen = word; goto Push
    :: else -> skip
    fi;
    below[copy] = Top(seen);
    word = ((copy + 1) << 2) | (seen & (kMark | kCalled));
    copy = 0;
    kicked = false;
#if TIMES > 1
    if
    :: again && (seen & (kMark | kCalled)) == kMark -> word = word | kCalled; again = false; seen = 0
    :: else -> again = false; seen = 0; goto Taken
    fi
#else
    seen = 0;
    goto Taken
#endif
  };
#if TIMES > 1
Called:
#ifndef BROKEN_DOES_NOT_COME_WHEN_CALLED
  atomic { /* B4: Flush() */
    WHEN(lock == NOBODY, TakeAll_load)
    lock = _pid;
    if
    :: Top(word) == 0 -> goto Flush
    :: else -> skip
    fi
  };
  atomic { AT(TakeAll_and) TakeAll() };
Flush:
  atomic { AT(Flush_submit) SubmitAll(); lock = NOBODY };
#endif
  goto Taken;
#endif
#endif
#if WAKES > 0
Kicked:
  atomic {
    AT(leader_is_released_lock)
    if
    :: leader == NOBODY || !released[leader] -> goto Takes
    :: else -> kicked = true
    fi
  };
#ifndef BROKEN_KEEPS_THE_KICK
  atomic { WHEN(lock == NOBODY, Kick_lock) kicks++; due++; SubmitAll() };
#endif
  goto Takes;
#endif

Nothing:
  at = 0;
  copy = 0;
  kicked = false;
  if
  :: take == kFirst -> goto Joins
  :: take == kLeader -> goto Looked
#if DEADLINES > 0 || WAKES > 0
  :: take == kAtLast -> skip
#endif
  fi;
Taken:
  if
  :: leads -> goto HandsOn
  :: else -> goto Ended
  fi;

/* W2 */
Joins:
  atomic {
    AT(Join_lock)
    take = kFirst;
#ifdef BROKEN_TWO_LEAD
    BecomeLeader(_pid);
    leads = true;
    goto Leads
#else
    if
    :: leader == NOBODY -> BecomeLeader(_pid); leads = true; goto Leads
    :: else -> standing[_pid] = kInLine; line[in_line] = _pid; in_line++
    fi
#endif
  };
Follows:
  atomic {
    AT(Sleep_load)
    if
    :: woken[_pid] -> goto Leaves
    :: else -> skip
    fi
  };
#ifdef BROKEN_FOLLOWER_SLEEPS_WITHOUT_LOOKING
  on_futex[_pid] = true;
#else
  atomic { AT(Sleep_wait) on_futex[_pid] = !woken[_pid] };
#endif
OnFutex:
  if
  :: atomic { WHEN(!on_futex[_pid], Sleep_woken) goto Follows }
#if DEATHS > 0
  :: atomic { deaths < DEATHS -> deaths++; goto DiesInLine }
#endif
#if DEADLINES > 0
  :: atomic { deadlines < DEADLINES -> deadlines++; late = true }
#endif
  fi;
Leaves:
  atomic {
    AT(Leave_lock)
    on_futex[_pid] = false;
    woken[_pid] = false;
    assert(standing[_pid] != kInLine || late); /* H3 */
    if
    :: standing[_pid] == kLeads -> leads = true; goto Leads
#if DEADLINES > 0
    :: standing[_pid] == kInLine -> UnlinkMe()
#endif
#if WAKES > 0
    :: standing[_pid] == kReleased -> owed--
#endif
    fi;
#if DEADLINES > 0 || WAKES > 0
    standing[_pid] = kOutside;
    take = kAtLast;
    goto Takes
#endif
  };
#if DEATHS > 0
DiesInLine: /* W5 */
  atomic {
    AT(Leave_lock)
    on_futex[_pid] = false;
    woken[_pid] = false;
#ifdef BROKEN_DIES_IN_LINE
    goto Gone;
#endif
#ifdef BROKEN_DIES_PROMOTED_AND_DOES_NOT_HAND_ON
    if
    :: standing[_pid] == kLeads -> goto Gone
    :: else -> skip
    fi;
#endif
    if
    :: standing[_pid] == kLeads -> goto HandsOn
    :: standing[_pid] == kInLine -> UnlinkMe(); goto Gone
#if WAKES > 0
    :: standing[_pid] == kReleased -> standing[_pid] = kOutside; goto PassesOn
#endif
    fi
  };
#endif

/* W3: Queue::Lead() */
Leads:
  atomic { AT(ready_taken) at = next_ };
  atomic {
    AT(ready_state)
    take = kLeader;
    if
    :: tail == at -> at = 0
    :: else -> goto Takes
    fi
  };
Looked:
#if WAKES > 0
  atomic {
    AT(leader_is_released_lock)
    going = released[leader];
    if
    :: going -> take = kAtLast; goto Takes
    :: else -> skip
    fi
  };
#endif
#ifdef BROKEN_LEADS_AWAKE
  goto Leads;
#endif
#if RETURNS > 0
Line:
  atomic {
    WHEN(lock == NOBODY || lock == _pid, TakeAll_load)
    lock = _pid;
    if
    :: Top(word) == 0 -> goto Mark
    :: else -> skip
    fi
  };
  atomic { AT(TakeAll_and) TakeAll() };
Mark: /* B2 */
  atomic {
    AT(Mark_load)
    n = len(submissions);
    seen = word;
#ifndef BROKEN_MARKS_WITHOUT_LOOKING
    if
    :: Top(seen) != 0 -> seen = 0; goto Line
    :: else -> skip
    fi
#endif
  };
  atomic {
    AT(Mark_swap)
    if
#ifdef BROKEN_MARKS_WITHOUT_LOOKING
    :: true -> word = word | kMark; seen = 0; lock = NOBODY
#else
    :: word == seen -> word = word | kMark; seen = 0; lock = NOBODY
    :: else -> seen = 0; goto Line /* only a push comes between: something lies there */
#endif
    fi
  };
#endif
  atomic { AT(taken_load) before = next_ };
#ifndef BROKEN_DOES_NOT_SHOW_BEFORE_IT_SLEEPS
  atomic { AT(ShowTaken_load) at = next_ };
  atomic {
    AT(Show_load)
    seen = shown;
    if
    :: at <= seen -> at = 0; seen = 0; goto Enters
    :: else -> skip
    fi
  };
ShowTaken:
  atomic {
    AT(Show_swap)
    if
    :: shown == seen -> shown = at
    :: else ->
      seen = shown;
      if
      :: at <= seen -> skip
      :: else -> goto ShowTaken
      fi
    fi;
    at = 0;
    seen = 0
  };
#endif
Enters:
#if TIMES > 1
  if
#if DEATHS > 0
  :: atomic { deaths < DEATHS -> deaths++; n = 0; goto DiesLeading }
#endif
  :: atomic {
       AT(Enter_submit)
       Submit(n);
       if
       :: n > 0 -> goto Wakes /* others have submitted it: the kernel does not let it sleep */
       :: else -> skip
       fi
     }
  fi;
#endif
  atomic { AT(Enter_head) awaited = shown };
  atomic { AT(Enter_queue) assert(asleep == 0); asleep = kQueued }; /* H4 */
  atomic {
    AT(Enter_tail)
    if
#ifndef BROKEN_SLEEPS_WITHOUT_LOOKING
    :: tail != awaited -> asleep = 0
#if DEADLINES > 0
    :: tail == awaited && late -> asleep = 0; take = kAtLast
#endif
#endif
    :: else -> asleep = kSleeps
    fi
  };
Asleep:
  if
  :: atomic { WHEN(asleep == 0, Enter_woken) awaited = 0 }
#if DEATHS > 0
  :: atomic { deaths < DEATHS -> deaths++; asleep = 0; awaited = 0; goto DiesLeading }
#endif
#if DEADLINES > 0
  :: atomic {
       asleep != 0 && deadlines < DEADLINES -> deadlines++;
       late = true; asleep = 0; awaited = 0; take = kAtLast
     }
#endif
  fi;
Wakes:
#if RETURNS > 0
  atomic { /* B3 */
    AT(Unmark_and)
    word = word & ~kMark;
#if TIMES > 1
    if
    :: n > 0 -> n = 0; before = 0; goto Leads
    :: else -> skip
    fi;
#endif
    skip
  };
#endif
#if DEADLINES > 0
  if
  :: atomic { take == kAtLast -> before = 0; goto Takes }
  :: else
  fi;
#endif
#if WAKES > 0
  atomic {
    AT(leader_is_released_lock)
    going = released[leader];
    if
    :: going -> before = 0; goto Leads
    :: else -> skip
    fi
  };
#endif
  atomic { AT(Lead_state) assert(tail != before); before = 0; goto Leads }; /* H3 */
#if DEATHS > 0
DiesLeading:
#if RETURNS > 0
  atomic { AT(Unmark_and) word = word & ~kMark };
#endif
  before = 0;
#ifdef BROKEN_DIES_LEADING_AND_DOES_NOT_HAND_ON
  goto Gone;
#endif
#endif

HandsOn: /* W4 */
#ifdef BROKEN_DOES_NOT_HAND_ON
  goto Ended;
#endif
  atomic {
    AT(HandOn_lock)
    assert(leader == _pid);
    standing[_pid] = kOutside;
#ifndef BROKEN_KEEPS_THE_LEAD
    leader = NOBODY;
#endif
    if
    :: in_line > 0 ->
      UnlinkFirst();
#ifndef BROKEN_WAKES_AND_DOES_NOT_PROMOTE
      BecomeLeader(who);
#endif
      WakeUp(who);
#ifdef BROKEN_WAKES_TWO
      if
      :: in_line > 0 -> who = line[0]; WakeUp(who)
      :: else -> skip
      fi;
#endif
      skip
    :: else -> skip
    fi;
#if WAKES > 0
    if
    :: !released[_pid] -> goto Ended
    :: released[_pid] && going -> released[_pid] = false; owed--; goto Ended
    :: released[_pid] && !going -> released[_pid] = false
    fi
#else
    goto Ended
#endif
  };
#if WAKES > 0
PassesOn:
#ifndef BROKEN_KEEPS_A_WAKE_THAT_IT_DOES_NOT_NEED
  atomic {
    AT(Release_lock)
    owed--;
    ReleaseOne();
    if
    :: !kicks_leader -> goto Ended
    :: else -> skip
    fi
  };
  atomic { WHEN(lock == NOBODY, Kick_lock) kicks++; due++; SubmitAll() };
#endif
#endif

Ended:
#if EACH > 1
  atomic {
    waits--;
    at = 0; copy = 0; seen = 0; take = 0; leads = false; going = false; late = false;
    if
    :: waits > 0 -> goto Next
    :: else -> skip
    fi
  };
#endif
Gone:
  atomic { at = 0; copy = 0; seen = 0; take = 0; leads = false; going = false; late = false; gone++ }
}

/* --- The rest --------------------------------------------------------------------------------------------------- */

/* What has been armed completes at any time, as long as there is room. */
active proctype Kernel() {
  byte r;
endIdle:
  do
  :: atomic {
       WHEN(tail - shown < SLOTS && due > 0, Kernel_write)
       due--;
       if
       :: armed[0] -> r = 0
#if REGISTRATIONS > 1
       :: armed[1] && AFTER(0) -> r = 1
#endif
#if REGISTRATIONS > 2
       :: armed[2] && AFTER(1) -> r = 2
#endif
#if WAKES > 0
       :: kicks > 0 -> r = KICK
#endif
       fi;
       if
       :: r < REGISTRATIONS -> armed[r] = false
#if WAKES > 0
       :: else -> kicks--
#endif
       fi;
       slot[tail % SLOTS] = r;
       written[tail] = r;
       r = 0
     };
     atomic { AT(Kernel_tail) tail++ };
     atomic {
       AT(Kernel_wake)
       if
       :: asleep != 0 && tail != awaited -> asleep = 0
       :: else -> skip
       fi
     }
  od
}

#if WAKES > 0
active proctype Waker() {
  do
  :: wakes < WAKES ->
    atomic {
      AT(Release_lock)
      wakes++;
      if
      :: ReleaseOne()
      :: ReleaseAll()
      fi;
      if
      :: !kicks_leader -> goto Released
      :: else -> skip
      fi
    };
    atomic { WHEN(lock == NOBODY, Kick_lock) kicks++; due++; SubmitAll() };
Released:
    skip
  :: else -> break
  od
}
#endif

#if DEATHS > 0 || DEADLINES > 0
/* From some time on nobody is cancelled and no deadline passes any more: so that none of them ends a sleep that nothing
   else would have ended. */
active proctype Mercy() {
  atomic { deaths = DEATHS; deadlines = DEADLINES }
}
#endif

/* Looks when nothing moves any more. */
active proctype AtRest() {
  atomic {
    timeout ->
    assert(shown == next_); /* H5 */
    assert(owed == 0);      /* H2 */
    if
    :: gone == THREADS -> assert(leader == NOBODY && in_line == 0)
#if WAKES > 0
    :: else ->
      assert(leader != NOBODY && asleep == kSleeps && 1 + in_line == THREADS - gone);
      assert(next_ == tail && kicks == 0);
      i = 0;
      do
      :: i < REGISTRATIONS -> assert(reports[i] == TIMES); i++
      :: else -> break
      od
#endif
    fi
  }
}
