/* kevent.h: one queue for everything that a program may have to wait for: the C interface. C11 and C++.
 *
 *     int kfd = kevent_init(256);
 *     struct kevent_ring *ring = kevent_map_ringbuf(kfd, 256);
 *     struct kevent_event ev = {.type = KEVENT_EVENT_POLL, .descriptor = fd, .cookie = 7, .result = POLLIN};
 *     ev.flags = KEVENT_LEVEL;
 *     kevent_submit(kfd, &ev, 0, NULL);
 *     for (;;) {
 *       unsigned state = kevent_ring_state(ring);
 *       while (kevent_consume(ring, &ev) == 1) handle(&ev);
 *       kevent_wait(kfd, state, NULL, NULL);
 *     }
 *
 * Names, arguments and their order are those that Drepper proposed in 2006; where one deviates, docs/kevent.md says
 * why. Each call has a manual page in docs/man; kevent(7) is the overview.
 *
 * Every call returns -1 with errno on an error, but for those that return a pointer or a state. Each that takes the
 * descriptor may fail with EBADF, no queue of this process, and EPERM, a queue of the process that forked this one.
 * Threads: any, at any time; after kevent_destroy() nobody may use the ring. None is async-signal-safe. kevent_wait()
 * and kevent_get_events() are cancellation points, the others are not. Memory that a request points to belongs to the
 * kernel until the request's last record, the one without KEVENT_MORE.
 */

#ifndef EVRING_KEVENT_KEVENT_H_
#define EVRING_KEVENT_KEVENT_H_

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#ifndef _POSIX_C_SOURCE
#error "kevent.h needs POSIX: define _POSIX_C_SOURCE as 200809L, or compile as gnu11"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What is waited for: the same identifier at registration and in the report. What `descriptor`, `result` and `payload`
 * mean for each of them stands in docs/kevent.md. */
enum kevent_type {
  KEVENT_EVENT_ACCEPT = 3,
  KEVENT_EVENT_CONNECT = 4,
  KEVENT_EVENT_RECV = 5,
  KEVENT_EVENT_SEND = 6,
  KEVENT_EVENT_POLL = 7,  /* readiness of anything that poll(2) knows */
  KEVENT_EVENT_DELAY = 8, /* from now on */
  KEVENT_EVENT_READ = 9,
  KEVENT_EVENT_WRITE = 10,
  KEVENT_EVENT_FSYNC = 12,
  KEVENT_EVENT_USER = 32,  /* posted by the program itself */
  KEVENT_EVENT_TIMER = 33, /* at a time of a clock, once or with a period */
  KEVENT_EVENT_SIGNAL = 34,
  KEVENT_EVENT_PROCESS = 35,
  KEVENT_EVENT_FUTEX = 36,
  KEVENT_EVENT_FUTEXV = 37,
  KEVENT_EVENT_MQ = 38,
  KEVENT_EVENT_SYSV_MSG = 39,
  KEVENT_EVENT_SYSV_SEM = 40,
  KEVENT_EVENT_BIND = 41,
  KEVENT_EVENT_LISTEN = 42,
  KEVENT_EVENT_FLOCK = 43,
  KEVENT_EVENT_LOCK = 44, /* fcntl(2) record locks */
  KEVENT_EVENT_FDATASYNC = 45,
  KEVENT_EVENT_MSYNC = 46,
  KEVENT_EVENT_INOTIFY = 47,
  KEVENT_EVENT_EVENTFD = 48,
  KEVENT_EVENT_SIGEVENT = 49, /* reported by a POSIX interface, see kevent_sigevent() */
};

/* Flags of a registration. */
#define KEVENT_LEVEL 0x100u /* POLL, MQ: report as long as it is so, one record at a time */
#define KEVENT_MULTI 0x200u /* report again and again; the next one when the last record has been consumed */

/* FUTEX: `descriptor`, for a word that only this process uses. */
#define KEVENT_FUTEX_PRIVATE 0x80

/* Flags of a record. */
#define KEVENT_MORE 0x2u /* the registration goes on: more records come */

/* 32 bytes, the same for 32-bit and 64-bit programs. */
struct kevent_event {
  int32_t type;       /* KEVENT_EVENT_… */
  int32_t descriptor; /* of a file, message queue, semaphore set; the number of a signal or a process */
  uint64_t cookie;    /* comes back unchanged */
  int32_t result;     /* submit: an argument of the type. Report: what the call would have returned, or -errno */
  uint32_t flags;
  uint64_t payload; /* submit: an argument, or the address of it; replaced by the number of the registration.
                       Report: more about the event, or the number */
};

/* Arguments that do not fit. Copied by kevent_submit(), but for the memory that they point to. */
struct kevent_io { /* RECV, SEND, READ, WRITE, INOTIFY */
  void *buffer;
  uint64_t size;
  int64_t offset; /* READ, WRITE: -1 is the file's own position */
  int32_t flags;  /* RECV, SEND: MSG_… */
};
struct kevent_timer { /* TIMER */
  int32_t clock;      /* CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME */
  int32_t absolute;   /* `first` is a time of that clock; else counted from now */
  struct timespec first;
  struct timespec interval; /* of a periodic one; 0: once */
};
struct kevent_msg { /* SYSV_MSG */
  void *message;    /* struct msgbuf */
  uint64_t size;    /* of its text */
  int64_t type;     /* to receive: as of msgrcv(2) */
  int32_t flags;    /* MSG_NOERROR, … */
  int32_t send;     /* else receive */
};
struct sembuf;
struct kevent_sem { /* SYSV_SEM */
  struct sembuf *operations;
  uint64_t count;
};
struct kevent_memory { /* MSYNC */
  void *address;
  uint64_t size;
};

/* A queue that expects up to `num` records at a time to be outstanding: rounded up to a power of two, from 8 to 65536
 * (KEVENT_CTL_ENTRIES tells). Beyond it nothing is lost: see overflow in kevent(7). A descriptor, close-on-exec, which
 * may be polled and closed; read, write and lseek fail. EINVAL, EMFILE, ENFILE, ENOMEM, EPERM (io_uring is switched
 * off), ENOSYS. */
int kevent_init(int num);

/* The ring from which records are consumed without a system call. `num` at most what kevent_init() was given; a second
 * call gives the same ring; it cannot be resized. It stays until kevent_destroy(). NULL with EINVAL, EBADF, EPERM. */
struct kevent_ring;
struct kevent_ring *kevent_map_ringbuf(int kfd, size_t num);

/* The state of the ring: moves with every record that arrives, at times without. Read it before the records. NULL: 0
 * with EINVAL. */
unsigned kevent_ring_state(const struct kevent_ring *ring);

/* Takes the oldest record. 1: `*ev` is it, and nobody else gets it. 0: there is none. Makes no system call for a record
 * that is in the ring. EINVAL (NULL), EPERM (the ring is that of the parent process). */
int kevent_consume(struct kevent_ring *ring, struct kevent_event *ev);

/* Sets and asks. EINVAL for an unknown `cmd` or value. EBUSY, EBADF, EPERM, ENOMEM. */
enum kevent_command {
  KEVENT_CTL_MIN_EVENTS = 1,        /* unsigned: how many records a wait waits for. EBUSY while threads wait */
  KEVENT_CTL_OVERFLOW_SIGNAL = 2,   /* int signo, union sigval: sent once per episode. 0: none */
  KEVENT_CTL_OVERFLOW_CALLBACK = 3, /* void (*)(int kfd, void *arg), void *arg: called once per episode, by the thread
                                       that notices it. NULL: none. The latter of signal and callback counts */
  KEVENT_CTL_COUNTERS = 4,          /* struct kevent_counters * */
  KEVENT_CTL_ENTRIES = 5,           /* unsigned *: of the ring */
  KEVENT_CTL_REGISTRATIONS_MAX = 6, /* unsigned: how many there may be at a time. 1048576 at first */
};
struct kevent_counters {
  uint64_t submitted; /* registrations and posts accepted */
  uint64_t consumed;  /* records handed out */
  uint64_t ended;     /* registrations that have had their last record */
  uint64_t enters;    /* system calls made */
  uint64_t overflows; /* episodes */
  uint64_t wakes;     /* waiting threads that were woken, in the kernel or by another thread */
};
int kevent_ctl(int kfd, int cmd, ...);

/* Registers `*ev`, and puts the number of the registration into its payload. `ev` NULL: wakes a thread that waits, with
 * KEVENT_WAKE_ALL all of them; their waits return 0.
 * A ring that is full takes no request: without a flag the request stands in line until there is room, with
 * KEVENT_NOWAIT the call fails with EAGAIN, with KEVENT_WAIT it waits for room for up to `timeout` (NULL: for ever;
 * somebody else has to consume). KEVENT_LATER: goes to the kernel with the next submit or wait.
 * EINVAL (type, flags, arguments, timeout), ENOSYS (the kernel cannot), EAGAIN (no room; no helper thread left), ENOSPC
 * (KEVENT_CTL_REGISTRATIONS_MAX), ENOMEM, EMFILE and ENFILE (no descriptor for a signal or process), ECANCELED
 * (destroyed while it waited for room), EBADF, EPERM. What goes wrong later is the result of a record. */
#define KEVENT_NOWAIT 0x1
#define KEVENT_WAIT 0x2
#define KEVENT_LATER 0x4
#define KEVENT_WAKE_ALL 0x8
int kevent_submit(int kfd, struct kevent_event *ev, int flags, const struct timespec *timeout);

/* Ends the registration with this number. It still has its last record: -ECANCELED, or the result that came before.
 * ENOENT: it has ended already. EALREADY: asked before. EBADF, EPERM. */
int kevent_cancel(int kfd, uint64_t number);

/* Puts a record that the caller will not use back, behind those in the ring: another waiting thread gets it. EINVAL
 * (NULL), ENOSPC (KEVENT_CTL_REGISTRATIONS_MAX), ENOMEM, EBADF, EPERM. */
int kevent_requeue(int kfd, const struct kevent_event *ev);

/* Waits for a record. 0: the caller has one, and kevent_consume() gives it; each record lets one thread return. (Or the
 * caller was woken, by kevent_submit() of NULL.) A thread that ends without having consumed it gives it back.
 * EWOULDBLOCK: the state of the ring is no longer `ringstate`, and what came has been taken; look again. ETIMEDOUT.
 * EINTR: a signal with a handler, also with SA_RESTART; `sigmask` is the thread's mask for the time of the wait, as in
 * ppoll(2). ECANCELED: the queue is being destroyed. EINVAL (timeout), ENOMEM, EBADF, EPERM.
 * `timeout`: NULL waits for ever, zero does not wait. */
int kevent_wait(int kfd, unsigned ringstate, const struct timespec *timeout, const sigset_t *sigmask);

/* Waits and consumes: up to `max` records, the number of which it returns. `min`: 0, not to wait, or what the queue's
 * waits wait for (KEVENT_CTL_MIN_EVENTS; else EINVAL); fewer if the timeout comes first, and then, as when the caller
 * was woken, 0 may be. Errors as of kevent_wait(), but for EWOULDBLOCK and ETIMEDOUT. */
int kevent_get_events(int kfd, struct kevent_event *events, size_t min, size_t max, const struct timespec *timeout,
                      const sigset_t *sigmask);

/* Fills `*sev` so that timer_create(2), mq_notify(3), aio_read(3), lio_listio(3) or getaddrinfo_a(3) report into the
 * queue: a record of type SIGEVENT with the cookie, each time, until kevent_cancel(). Returns 0, the number of the
 * registration in `*number`. EINVAL (NULL), ENOSPC, ENOMEM, EBADF, EPERM. */
int kevent_sigevent(int kfd, struct sigevent *sev, uint64_t cookie, uint64_t *number);

/* Closes the queue: its requests are cancelled and awaited, their records dropped; who waits returns with ECANCELED.
 * `ringbuf` and `num` as of kevent_map_ringbuf(), or NULL and 0. EBADF, EINVAL, EPERM, EDEADLK (in an overflow
 * callback). */
int kevent_destroy(int kfd, void *ringbuf, size_t num);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* EVRING_KEVENT_KEVENT_H_ */
