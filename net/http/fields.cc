#include "net/http/fields.h"

#include "net/http/chars.h"

namespace evring::net::http {

std::optional<std::string_view> Fields::Find(std::string_view name) const {
  for (const Field field : *this) {
    if (EqualsIgnoreCase(field.name, name)) return field.value;
  }
  return std::nullopt;
}

size_t Fields::Count(std::string_view name) const {
  size_t count = 0;
  for (const Field field : *this) count += EqualsIgnoreCase(field.name, name);
  return count;
}

std::string Fields::Combined(std::string_view name) const {
  std::string all;
  bool first = true;
  for (const Field field : *this) {
    if (!EqualsIgnoreCase(field.name, name)) continue;
    if (!first) all.append(", ");
    all.append(field.value);
    first = false;
  }
  return all;
}

bool Fields::ListContains(std::string_view name, std::string_view token) const {
  for (const Field field : *this) {
    if (!EqualsIgnoreCase(field.name, name)) continue;
    std::string_view list = field.value;
    while (!list.empty()) {
      if (EqualsIgnoreCase(NextListElement(&list), token)) return true;
    }
  }
  return false;
}

}  // namespace evring::net::http
