// watches_scenario.h: tasks of several workers that write, replace, rename and remove the files of a directory, and
// others that follow what happens there (FileWatch), are stopped now and then while they wait, and come again with
// another watch.
//
// What must hold whatever goes wrong: who reads a file again whenever an event says its name, and all of them when
// events were lost, knows in the end what is in the directory. An event that is lost shows as an old content, or as a
// run in which nothing can happen any more.

#ifndef EVRING_TESTS_SIM_WATCHES_SCENARIO_H_
#define EVRING_TESTS_SIM_WATCHES_SCENARIO_H_

#include <fcntl.h>
#include <sys/inotify.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/os/file.h"
#include "runtime/os/file_watch.h"
#include "runtime/sleep.h"
#include "runtime/task.h"
#include "runtime/task_group.h"
#include "runtime/timeout.h"
#include "sim/random.h"
#include "sim/simulation.h"

namespace evring::sim {

class Watching {
 public:
  explicit Watching(Random* random) : random_(random) {}
  Watching(const Watching&) = delete;
  Watching& operator=(const Watching&) = delete;

  Task<> Run() {
    {
      TaskGroup group;
      for (int i = 0; i < kFollowers; ++i) co_await group.Spawn(Follow(this));
      for (int i = 0; i < kWriters; ++i) co_await group.Spawn(Write(this, i));
      const absl::Status joined = co_await group.Join();
      EXPECT_TRUE(joined.ok()) << joined;
    }
    EXPECT_GT(events_, 0);
  }

 private:
  static constexpr int kFollowers = 3;
  static constexpr int kWriters = 3;
  static constexpr int kRounds = 12;
  static constexpr uint64_t kFiles = 3;
  static constexpr char kDirectory[] = "/watched/";
  static constexpr char kLast[] = "last";  // is made when all else has been done

  using Contents = std::map<std::string, std::string>;  // by name; what is not there has no entry

  absl::Duration Soon() { return absl::Microseconds(static_cast<int64_t>(random_->Below(2'000))); }
  static std::string Path(const std::string& name) { return absl::StrCat(kDirectory, name); }

  // Tries until it has been written.
  static Task<> Put(std::string name, std::string content) {
    for (;;) {
      const absl::StatusOr<File> file = co_await File::Open(Path(name), O_WRONLY | O_CREAT | O_TRUNC);
      if (!file.ok()) continue;
      const std::span<const std::byte> bytes = std::as_bytes(std::span(content));
      const absl::Status written = co_await file->WriteAt(bytes, 0);
      if (written.ok()) co_return;
    }
  }
  static Task<> Remove(std::string name) {
    for (;;) {
      const absl::Status removed = co_await Unlink(Path(name));
      if (removed.ok() || absl::IsNotFound(removed)) co_return;
    }
  }

  // Others write the same files at the same time, each whole.
  static Task<> Write(Watching* self, int writer) {
    for (int round = 0; round < kRounds; ++round) {
      const std::string name = absl::StrCat("file", self->random_->Below(kFiles));
      const std::string other = absl::StrCat("file", self->random_->Below(kFiles));
      const uint64_t how = self->random_->Below(4);
      if (how == 0) {
        co_await Remove(name);
      } else if (how == 1) {
        static_cast<void>(co_await Rename(Path(name), Path(other)));
      } else {
        const std::string temporary = absl::StrCat("new", writer);
        co_await Put(how == 2 ? name : temporary, absl::StrCat(writer, ".", round));
        if (how == 3) static_cast<void>(co_await Rename(Path(temporary), Path(name)));
      }
      const absl::Duration pause = self->Soon();
      static_cast<void>(co_await Sleep(pause));
    }
    if (++self->writers_done_ == kWriters) co_await Put(kLast, "");
  }

  static Task<FileWatch> Watch() {
    for (;;) {
      absl::StatusOr<FileWatch> watch = FileWatch::Create();
      if (!watch.ok()) continue;
      constexpr uint32_t kMask =
          IN_CREATE | IN_DELETE | IN_MOVE | IN_CLOSE_WRITE | IN_MODIFY | IN_DELETE_SELF | IN_MASK_CREATE;
      const absl::StatusOr<int> number = co_await watch->Add(kDirectory, kMask);
      if (number.ok()) co_return *std::move(watch);
    }
  }

  static Task<> Read(std::string name, Contents* contents) {
    for (;;) {
      absl::StatusOr<std::string> content = co_await ReadFile(Path(name), /*limit=*/100);
      if (content.ok()) {
        (*contents)[name] = *std::move(content);
        co_return;
      }
      if (!absl::IsNotFound(content.status())) continue;
      contents->erase(name);
      co_return;
    }
  }

  // The last first: if it is there, the others are as they will be.
  static Task<> ReadAll(Contents* contents) {
    co_await Read(kLast, contents);
    for (uint64_t i = 0; i < kFiles; ++i) co_await Read(absl::StrCat("file", i), contents);
  }

  static Task<> Follow(Watching* self) {
    Contents contents;
    FileWatch watch = co_await Watch();
    co_await ReadAll(&contents);
    while (!contents.contains(kLast)) {
      const bool bounded = self->random_->OneIn(3);
      const absl::Duration patience = bounded ? self->Soon() : absl::InfiniteDuration();
      const absl::StatusOr<FileEvent> event = co_await WithTimeout(patience, watch.Next());
      if (!event.ok()) {
        EXPECT_TRUE(absl::IsDeadlineExceeded(event.status())) << event.status();
        // Now and then with another one: what this one has not told, the next reading finds.
        const bool anew = self->random_->OneIn(4);
        if (!anew) continue;
        watch = co_await Watch();
        co_await ReadAll(&contents);
        continue;
      }
      ++self->events_;
      EXPECT_FALSE(event->ended()) << "a directory does not go";
      if (event->overflow()) {
        co_await ReadAll(&contents);
      } else if (event->name == kLast || event->name.starts_with("file")) {
        co_await Read(event->name, &contents);
      }
    }
    // What came before the last is told before it; and nothing comes after it.
    Contents now;
    co_await ReadAll(&now);
    EXPECT_EQ(contents, now);
  }

  Random* const random_;
  int writers_done_ = 0;
  int events_ = 0;
};

inline Task<> WatchesScenario() {
  Watching watching(Simulation::Current()->random());
  co_await watching.Run();
}

}  // namespace evring::sim

#endif  // EVRING_TESTS_SIM_WATCHES_SCENARIO_H_
