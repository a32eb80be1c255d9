/* kevent_workers.c: several threads consume one queue, in C11.
 *
 *     kevent_workers [JOBS [THREADS]]
 *
 * Posts JOBS jobs (10000) and lets THREADS workers (4) take them. Each record goes to exactly one thread and wakes one.
 * A worker takes an odd job the first time only to put it back, as a thread does that finds it cannot do it now:
 * another one gets it. A last record ends the workers, passed on from one to the next. The sum shows that each job was
 * done once. */

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "kevent/kevent.h"

enum { kWorkersMax = 64 };

static int kfd;
static struct kevent_ring *ring;
static atomic_ulong done, sum, put_back;
static unsigned long jobs = 10000;

static void Fail(const char *doing) {
  perror(doing);
  exit(1);
}

static void Work(struct kevent_event *job) {
  if (job->cookie % 2 == 1 && job->result == 0) {
    job->result = 1;
    if (kevent_requeue(kfd, job) != 0) Fail("kevent_requeue");
    atomic_fetch_add(&put_back, 1);
    return;
  }
  atomic_fetch_add(&sum, job->cookie);
  if (atomic_fetch_add(&done, 1) + 1 < jobs) return;
  struct kevent_event last = {.type = KEVENT_EVENT_USER, .descriptor = -1};
  if (kevent_submit(kfd, &last, 0, NULL) != 0) Fail("kevent_submit");
}

static void *Worker(void *unused) {
  (void)unused;
  for (;;) {
    const unsigned state = kevent_ring_state(ring);
    struct kevent_event job;
    while (kevent_consume(ring, &job) == 1) {
      if (job.descriptor < 0) {
        if (kevent_requeue(kfd, &job) != 0) Fail("kevent_requeue"); /* the others are to see it, too */
        return NULL;
      }
      Work(&job);
    }
    if (kevent_wait(kfd, state, NULL, NULL) != 0 && errno != EWOULDBLOCK && errno != EINTR) Fail("kevent_wait");
  }
}

int main(int argc, char **argv) {
  unsigned long workers = 4;
  if (argc > 1) jobs = strtoul(argv[1], NULL, 10);
  if (argc > 2) workers = strtoul(argv[2], NULL, 10);
  if (jobs == 0 || workers == 0 || workers > kWorkersMax || argc > 3) {
    fprintf(stderr, "usage: kevent_workers [JOBS [THREADS]]: at least one job, 1 to %d threads\n", kWorkersMax);
    return 2;
  }
  kfd = kevent_init(64);
  ring = kfd < 0 ? NULL : kevent_map_ringbuf(kfd, 64);
  if (ring == NULL) Fail("kevent_init");

  pthread_t threads[kWorkersMax];
  for (unsigned long i = 0; i < workers; ++i) {
    if ((errno = pthread_create(&threads[i], NULL, Worker, NULL)) != 0) Fail("pthread_create");
  }
  for (unsigned long i = 1; i <= jobs; ++i) {
    struct kevent_event job = {.type = KEVENT_EVENT_USER, .cookie = i};
    /* Waits while the ring is full, so that producers do not run ahead of the workers. */
    if (kevent_submit(kfd, &job, KEVENT_WAIT, NULL) != 0) Fail("kevent_submit");
  }
  for (unsigned long i = 0; i < workers; ++i) pthread_join(threads[i], NULL);

  struct kevent_counters counters;
  if (kevent_ctl(kfd, KEVENT_CTL_COUNTERS, &counters) != 0) Fail("kevent_ctl");
  const unsigned long expected = jobs % 2 == 0 ? jobs / 2 * (jobs + 1) : (jobs + 1) / 2 * jobs;
  printf("%lu jobs, %lu put back once, sum %s\n", atomic_load(&done), atomic_load(&put_back),
         atomic_load(&sum) == expected ? "right" : "wrong");
  fprintf(stderr, "%lu system calls, %lu wake-ups\n", (unsigned long)counters.enters, (unsigned long)counters.wakes);
  if (kevent_destroy(kfd, ring, 64) != 0) Fail("kevent_destroy");
  return atomic_load(&sum) == expected ? 0 : 1;
}
