// event_test.cc: the record: its layout, its flags, the names of the types.

#include "kevent/event.h"

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <type_traits>

#include "gtest/gtest.h"

namespace evring::kevent {
namespace {

// A record may be copied to other processes, 32-bit ones too: its layout is an interface.
TEST(Event, HasTheSameLayoutEverywhere) {
  static_assert(std::is_trivially_copyable_v<Event> && std::is_standard_layout_v<Event>);
  EXPECT_EQ(sizeof(Event), 32u);
  EXPECT_EQ(alignof(Event), 8u);
  EXPECT_EQ(offsetof(Event, type), 0u);
  EXPECT_EQ(offsetof(Event, descriptor), 4u);
  EXPECT_EQ(offsetof(Event, cookie), 8u);
  EXPECT_EQ(offsetof(Event, result), 16u);
  EXPECT_EQ(offsetof(Event, flags), 20u);
  EXPECT_EQ(offsetof(Event, payload), 24u);
}

TEST(Event, IsNoEventAtFirst) {
  const Event event;
  EXPECT_EQ(event.type, EventType::kNone);
  EXPECT_EQ(event.descriptor, -1);
  EXPECT_EQ(event.cookie, 0u);
  EXPECT_EQ(event.result, 0);
  EXPECT_TRUE(event.last());
  EXPECT_FALSE(event.has_buffer());
}

TEST(Event, FlagsSayWhetherMoreFollowsAndWhichBuffer) {
  Event event;
  event.flags = Event::kMore;
  EXPECT_FALSE(event.last());
  EXPECT_FALSE(event.has_buffer());
  event.flags = Event::kBuffer | (0xfffeu << Event::kBufferShift);
  EXPECT_TRUE(event.last());
  EXPECT_TRUE(event.has_buffer());
  EXPECT_EQ(event.buffer_id(), 0xfffe);
}

TEST(EventType, NumbersAreFixedAndNamesDistinct) {
  const struct {
    EventType type;
    int32_t number;
    const char* name;
  } types[] = {
      {EventType::kNone, 0, "none"},
      {EventType::kMessage, 1, "message"},
      {EventType::kNop, 2, "nop"},
      {EventType::kAccept, 3, "accept"},
      {EventType::kConnect, 4, "connect"},
      {EventType::kReceive, 5, "receive"},
      {EventType::kSend, 6, "send"},
      {EventType::kPoll, 7, "poll"},
      {EventType::kTimeout, 8, "timeout"},
      {EventType::kFileRead, 9, "read"},
      {EventType::kFileWrite, 10, "write"},
      {EventType::kOpen, 11, "open"},
      {EventType::kSync, 12, "sync"},
      {EventType::kRename, 13, "rename"},
      {EventType::kUnlink, 14, "unlink"},
      {EventType::kFileInfo, 15, "statx"},
      {EventType::kTruncate, 16, "truncate"},
      {EventType::kAllocate, 17, "allocate"},
      {EventType::kLink, 18, "link"},
      {EventType::kSymbolicLink, 19, "symlink"},
      {EventType::kMakeDirectory, 20, "mkdir"},
      {EventType::kRemoveDirectory, 21, "rmdir"},
  };
  std::set<std::string> names;
  for (const auto& [type, number, name] : types) {
    EXPECT_EQ(static_cast<int32_t>(type), number);
    EXPECT_STREQ(EventTypeName(type), name);
    EXPECT_TRUE(names.insert(EventTypeName(type)).second) << name;
  }
  EXPECT_STREQ(EventTypeName(static_cast<EventType>(22)), "unknown");
}

}  // namespace
}  // namespace evring::kevent
