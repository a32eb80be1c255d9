/* kevent_loop.c: an event loop in C11 over one queue: sockets, a timer, signals and a child.
 *
 * Echoes what comes over TCP on 127.0.0.1; its first line is "listening on 127.0.0.1:PORT". Beside it a timer ticks,
 * and a child sleeps for a moment and exits. SIGINT or SIGTERM ends the loop, which says what it has seen.
 *
 * The cookie of a connection's requests is its address; a connection has one request at a time, to receive or to send.
 * docs/man/kevent.7 is the manual. */

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kevent/kevent.h"

enum { kAccepted, kTicked, kSignalled, kChild }; /* cookies; others are addresses */

struct connection {
  int fd;
  char *from; /* what is to be sent back */
  size_t left;
  char buffer[4096];
};

static int kfd;
static struct connection all[1024]; /* by descriptor */
static unsigned long echoed, ticks, connections;

static void Fail(const char *doing) {
  perror(doing);
  exit(1);
}

static uint64_t Submit(struct kevent_event ev) {
  if (kevent_submit(kfd, &ev, 0, NULL) != 0) Fail("kevent_submit");
  return ev.payload;
}

static int Listen(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof(address);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 || listen(fd, 128) != 0 ||
      getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
    Fail("listen");
  }
  printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
  return fd;
}

static void Receive(struct connection *c) {
  const struct kevent_io io = {.buffer = c->buffer, .size = sizeof(c->buffer)};
  Submit((struct kevent_event){
      .type = KEVENT_EVENT_RECV, .descriptor = c->fd, .cookie = (uintptr_t)c, .payload = (uintptr_t)&io});
}

static void Send(struct connection *c) {
  const struct kevent_io io = {.buffer = c->from, .size = c->left};
  Submit((struct kevent_event){
      .type = KEVENT_EVENT_SEND, .descriptor = c->fd, .cookie = (uintptr_t)c, .payload = (uintptr_t)&io});
}

static void Accepted(int fd) {
  if ((size_t)fd >= sizeof(all) / sizeof(all[0])) {
    close(fd); /* more than we serve */
    return;
  }
  ++connections;
  all[fd].fd = fd;
  Receive(&all[fd]);
}

static void Serve(const struct kevent_event *ev) {
  struct connection *const c = (struct connection *)(uintptr_t)ev->cookie;
  if (ev->result <= 0) { /* its end, or an error: this was its only request */
    close(c->fd);
    return;
  }
  const size_t n = (size_t)ev->result;
  if (ev->type == KEVENT_EVENT_RECV) {
    c->from = c->buffer;
    c->left = n;
  } else {
    echoed += n;
    c->from += n;
    c->left -= n;
  }
  if (c->left > 0) {
    Send(c);
  } else {
    Receive(c);
  }
}

static bool Handle(const struct kevent_event *ev) {
  switch (ev->cookie) {
    case kAccepted:
      if (ev->result < 0) {
        fprintf(stderr, "accept: %s\n", strerror(-ev->result));
        return false;
      }
      Accepted(ev->result);
      return true;
    case kTicked:
      ticks += (unsigned long)ev->result; /* those that were missed among them */
      return true;
    case kSignalled:
      printf("signal %d\n", ev->result);
      return false;
    case kChild:
      printf("child %d ended with %d\n", ev->descriptor, ev->result);
      fflush(stdout);
      return true;
    default:
      Serve(ev);
      return true;
  }
}

int main(void) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, NULL); /* as for sigwait(3) */

  kfd = kevent_init(256);
  struct kevent_ring *const ring = kfd < 0 ? NULL : kevent_map_ringbuf(kfd, 256);
  if (ring == NULL) Fail("kevent_init");
  const int listener = Listen();
  fflush(stdout); /* before the child copies it */
  const pid_t child = fork();
  if (child == 0) {
    usleep(1000);
    _exit(7);
  }
  if (child < 0) Fail("fork");

  const struct kevent_timer tick = {
      .clock = CLOCK_MONOTONIC, .first = {.tv_nsec = 10000000}, .interval = {.tv_nsec = 10000000}};
  Submit((struct kevent_event){
      .type = KEVENT_EVENT_ACCEPT, .descriptor = listener, .cookie = kAccepted, .flags = KEVENT_MULTI});
  Submit((struct kevent_event){.type = KEVENT_EVENT_TIMER, .cookie = kTicked, .payload = (uintptr_t)&tick});
  Submit((struct kevent_event){.type = KEVENT_EVENT_SIGNAL, .descriptor = SIGINT, .cookie = kSignalled});
  Submit((struct kevent_event){.type = KEVENT_EVENT_SIGNAL, .descriptor = SIGTERM, .cookie = kSignalled});
  Submit((struct kevent_event){.type = KEVENT_EVENT_PROCESS, .descriptor = child, .cookie = kChild, .result = WEXITED});

  for (bool goes_on = true; goes_on;) {
    const unsigned state = kevent_ring_state(ring);
    struct kevent_event ev;
    while (goes_on && kevent_consume(ring, &ev) == 1) goes_on = Handle(&ev);
    if (goes_on && kevent_wait(kfd, state, NULL, NULL) != 0 && errno != EWOULDBLOCK && errno != EINTR) {
      Fail("kevent_wait");
    }
  }
  printf("%lu connections, %lu bytes echoed, %s\n", connections, echoed, ticks > 0 ? "the timer ticked" : "no tick");
  if (kevent_destroy(kfd, ring, 256) != 0) Fail("kevent_destroy");
  close(listener);
  return 0;
}
