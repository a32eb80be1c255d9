/* c_layout.c: the record has the same 32 bytes in every program: C11, with 32-bit and with 64-bit pointers. Compiled as
 * what this machine is, by Bazel, and with -m32 by c_layout_test.sh. */

#include "kevent/kevent.h"

_Static_assert(sizeof(struct kevent_event) == 32, "two words, the cookie, two words, the payload");
_Static_assert(offsetof(struct kevent_event, type) == 0, "type");
_Static_assert(offsetof(struct kevent_event, descriptor) == 4, "descriptor");
_Static_assert(offsetof(struct kevent_event, cookie) == 8, "cookie");
_Static_assert(offsetof(struct kevent_event, result) == 16, "result");
_Static_assert(offsetof(struct kevent_event, flags) == 20, "flags");
_Static_assert(offsetof(struct kevent_event, payload) == 24, "payload");
_Static_assert(sizeof(struct kevent_counters) == 48, "six counters of 64 bits");

/* What C makes of designated initializers; used by c_interface_test.cc. */
struct kevent_event kevent_layout_sample(void);
struct kevent_event kevent_layout_sample(void) {
  return (struct kevent_event){.type = KEVENT_EVENT_USER,
                               .descriptor = 0x11223344,
                               .cookie = 0x5566778899aabbccu,
                               .result = -2,
                               .flags = KEVENT_MORE,
                               .payload = 0xddeeff0011223344u};
}
