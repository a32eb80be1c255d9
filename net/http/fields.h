// fields.h: the header fields or the trailer fields of one message, in the order in which they came.
// A Fields borrows the bytes of the message: it holds offsets into one contiguous block, so that the block can move
// (from the receive buffer into the parser's own memory) without anything being rewritten. Filled by RequestParser.

#ifndef EVRING_NET_HTTP_FIELDS_H_
#define EVRING_NET_HTTP_FIELDS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace evring::net::http {

class RequestParser;

namespace internal {

// Where a field line's parts are, from the first byte of the block on.
struct FieldSlot {
  uint32_t name_offset;
  uint32_t name_bytes;
  uint32_t value_offset;
  uint32_t value_bytes;
};
static_assert(sizeof(FieldSlot) == 16, "half of two views, and nothing to rewrite when the block moves");

}  // namespace internal

// One field line. The value has no white space around it and no control character but HTAB inside; it may be empty and
// may hold bytes above 0x7f.
struct Field {
  std::string_view name;
  std::string_view value;
};

// Not thread-safe. Views live as long as the request they came with (request.h).
class Fields {
 public:
  class Iterator {
   public:
    Iterator(const Fields* fields, size_t index) : fields_(fields), index_(index) {}
    Field operator*() const { return (*fields_)[index_]; }
    Iterator& operator++() {
      ++index_;
      return *this;
    }
    bool operator==(const Iterator& other) const { return index_ == other.index_; }

   private:
    const Fields* fields_;
    size_t index_;
  };

  size_t size() const { return slots_.size(); }
  bool empty() const { return slots_.empty(); }
  Field operator[](size_t index) const {
    const internal::FieldSlot& slot = slots_[index];
    return {{base_ + slot.name_offset, slot.name_bytes}, {base_ + slot.value_offset, slot.value_bytes}};
  }
  Iterator begin() const { return Iterator(this, 0); }
  Iterator end() const { return Iterator(this, size()); }

  // Names compare without regard to the case of letters. O(size).
  // The value of the first field line of that name.
  std::optional<std::string_view> Find(std::string_view name) const;
  size_t Count(std::string_view name) const;
  // All values of that name joined with ", ", as RFC 9110 section 5.3 allows; "" if there are none.
  std::string Combined(std::string_view name) const;
  // For fields that are comma-separated lists of tokens: true if `token` (in any case) is an element of one of them.
  bool ListContains(std::string_view name, std::string_view token) const;

 private:
  friend class RequestParser;
  friend class Request;

  const char* base_ = nullptr;
  std::vector<internal::FieldSlot> slots_;
};

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_FIELDS_H_
