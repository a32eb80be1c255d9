#include "runtime/task_dump.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "kevent/check.h"
#include "runtime/context.h"
#include "runtime/scheduler.h"
#include "runtime/worker.h"

namespace evring {
namespace {

absl::string_view ToAbsl(std::string_view text) { return absl::string_view(text.data(), text.size()); }

// Without the names of ours that are everywhere.
std::string WithoutScopes(std::string_view name) {
  return absl::StrReplaceAll(
      ToAbsl(name), {{"evring::", ""}, {"internal::", ""}, {"{anonymous}::", ""}, {"(anonymous namespace)::", ""}});
}

// "… [with A = evring::internal::Type]" (gcc), "… [A = evring::internal::Type]" (clang): "Type".
std::string Awaited(internal::AwaitedName name) {
  constexpr std::string_view kBefore = "A = ";
  std::string_view type = name();
  type.remove_prefix(type.find(kBefore) + kBefore.size());
  type.remove_suffix(1);
  return WithoutScopes(type);
}

// The function that a place is in. gcc names the one that it has made of the coroutine n::F(int),
// "void n::F(F(int)::_ZN1n1FEi.Frame*)".
std::string Function(std::source_location where) {
  const std::string_view name = where.function_name();
  constexpr std::string_view kVoid = "void ";
  const size_t end = name.rfind("::_Z");
  if (!name.starts_with(kVoid) || !name.ends_with(".Frame*)") || end == std::string_view::npos) {
    return WithoutScopes(name);
  }
  const std::string_view twice = name.substr(kVoid.size(), end - kVoid.size());
  for (size_t at = twice.find('('); at != std::string_view::npos; at = twice.find('(', at + 1)) {
    const std::string_view function = twice.substr(at + 1);
    if (twice.substr(0, at).ends_with(function.substr(0, function.find('(')))) {
      return WithoutScopes(function);
    }
  }
  return WithoutScopes(name);
}

TaskInfo Look(const TaskContext& context, int depth, bool ended) {
  TaskInfo info;
  info.depth = depth;
  info.stop_requested = context.stop_requested();
  const internal::AwaitSite& site = context.site();
  // What is read between two looks that find the task waiting belongs to a wait, nearly always to the same.
  const bool waiting = context.waiting();
  info.where = site.where();
  const internal::AwaitedName name = site.name();
  info.event = site.type();
  info.descriptor = site.descriptor();
  if (ended) {
    info.state = TaskInfo::State::kEnded;
  } else if (!context.is_task()) {
    info.state = TaskInfo::State::kGroup;
  } else if (name == nullptr) {
    info.state = TaskInfo::State::kHasNotWaited;
  } else if (waiting && context.waiting()) {
    info.state = TaskInfo::State::kWaiting;
    info.awaited = Awaited(name);
  } else {
    info.state = TaskInfo::State::kReady;
  }
  if (info.state != TaskInfo::State::kWaiting) {
    info.event = kevent::EventType::kNone;
    info.descriptor = -1;
  }
  return info;
}

void AppendLine(const TaskInfo& info, std::string* text) {
  std::string_view file = info.where.file_name();
  file.remove_prefix(file.rfind('/') + 1);  // npos + 1 is 0
  text->append(2 * static_cast<size_t>(info.depth), ' ');
  absl::StrAppend(text, ToAbsl(file), ":", info.where.line(), " ", info.stop_requested ? "stopping, " : "");
  switch (info.state) {
    case TaskInfo::State::kHasNotWaited:
      text->append("has not waited, spawned");
      break;
    case TaskInfo::State::kReady:
      text->append("ready or running");
      break;
    case TaskInfo::State::kGroup:
      text->append("(group)\n");
      return;
    case TaskInfo::State::kEnded:
      text->append("ended, its children go on");
      break;
    case TaskInfo::State::kWaiting:
      if (info.event == kevent::EventType::kNone) {
        absl::StrAppend(text, "waits: ", info.awaited);
      } else if (info.descriptor < 0) {
        absl::StrAppend(text, "waits: ", kevent::EventTypeName(info.event));
      } else {
        absl::StrAppend(text, "waits: ", kevent::EventTypeName(info.event), " ", info.descriptor);
      }
  }
  absl::StrAppend(text, ", in ", Function(info.where), "\n");
}

}  // namespace

namespace internal {

std::vector<TaskInfo> ListTasks(TaskContext* root) {
  struct Next {
    ContextRef<TaskContext> context;
    int depth;
  };
  std::vector<TaskInfo> tasks;
  std::vector<Next> next;  // the next one last; not by recursion, as trees may be deep
  next.push_back({ContextRef<TaskContext>::Share(root), -1});
  while (!next.empty()) {
    const Next at = std::move(next.back());
    next.pop_back();
    auto [children, ended] = at.context->Children();
    if (at.depth >= 0) tasks.push_back(Look(*at.context.get(), at.depth, ended));
    for (size_t i = children.size(); i-- > 0;) next.push_back({std::move(children[i]), at.depth + 1});
  }
  return tasks;
}

}  // namespace internal

std::string ToString(absl::Span<const TaskInfo> tasks) {
  if (tasks.empty()) return "no tasks\n";
  std::string text;
  for (const TaskInfo& info : tasks) AppendLine(info, &text);
  return text;
}

std::string DumpTasks() {
  Worker* const worker = Worker::Current();
  EVRING_CHECK(worker != nullptr, "DumpTasks() is called on a worker; elsewhere use Runtime::DumpTasks()");
  return ToString(internal::ListTasks(worker->scheduler()->root()));
}

}  // namespace evring
