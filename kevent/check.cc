#include "kevent/check.h"

#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace evring::kevent {
namespace {

// A failed write has no better place to be reported: the abort below still says that something broke.
void Put(const char* text) { [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text, std::strlen(text)); }

}  // namespace

void CheckFailed(const char* file, int line, const char* condition, const char* text) {
  char digits[12];
  char* p = digits + sizeof(digits) - 1;
  *p = '\0';
  do {
    *--p = static_cast<char>('0' + line % 10);
    line /= 10;
  } while (line != 0);
  Put(file);
  Put(":");
  Put(p);
  Put(": check failed: ");
  Put(condition);
  Put(": ");
  Put(text);
  Put("\n");
  std::abort();
}

}  // namespace evring::kevent
