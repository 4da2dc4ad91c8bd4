// support.hpp: what the tests share: a place for segments, pages read back, child processes.
#ifndef DYN_METRICS_TESTS_SUPPORT_HPP
#define DYN_METRICS_TESTS_SUPPORT_HPP

#include <dyn_metrics.hpp>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace tests {

// A private directory in shared memory.
class Directory {
 public:
  Directory() {
    std::string pattern = "/dev/shm/dyn-metrics-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~Directory() {
    std::error_code ignored;
    if (owner_ == getpid()) std::filesystem::remove_all(path_, ignored);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
  pid_t owner_ = getpid();
};

// How often to do what takes longer the more often it is done: DYN_METRICS_TEST_SCALE times as often as usual.
inline std::uint64_t scaled(std::uint64_t times) {
  const char* scale = std::getenv("DYN_METRICS_TEST_SCALE");
  return times * (scale == nullptr ? 1 : std::strtoull(scale, nullptr, 10));
}

inline const dynm_registry* open_at(const std::string& path) {
  dynm_segment_options options = dynm_segment_options_init();
  const dynm_registry* registry;
  options.path = path.c_str();
  EXPECT_EQ(dynm_open(&options, &registry), DYNM_OK) << dynm_last_error();
  return registry;
}

// The page of a segment, as an exporter would serve it.
inline std::string page_of(const dynm_registry* registry) {
  char* text;
  std::size_t length;
  if (dynm_render(registry, &text, &length) != DYNM_OK) return dynm_last_error();
  std::string page(text, length);
  dynm_free(text);
  return page;
}

inline std::string page_of(const dyn_metrics::Registry& registry) { return page_of(registry.raw()); }

// How many samples of a page have this name, with any labels.
inline int count_samples(const std::string& page, const std::string& name) {
  int found = 0;
  for (std::size_t at = 0; at < page.size(); at = page.find('\n', at) + 1) {
    const std::size_t end = at + name.size();
    found += page.compare(at, name.size(), name) == 0 && (page[end] == ' ' || page[end] == '{');
  }
  return found;
}

// The number of the sample `series` ("name" or "name{label=\"value\"}"), which the page must have.
inline double sample(const std::string& page, const std::string& series) {
  for (std::size_t at = 0; at < page.size(); at = page.find('\n', at) + 1) {
    if (page.compare(at, series.size() + 1, series + " ") == 0) return std::stod(page.substr(at + series.size() + 1));
  }
  ADD_FAILURE() << "no " << series << " in\n" << page;
  return -1;
}

// Runs `work` with 0 to count - 1 in as many threads at once.
template <class Work>
void in_threads(int count, const Work& work) {
  std::vector<std::thread> threads;
  for (int number = 0; number < count; number++) threads.emplace_back([&work, number] { work(number); });
  for (auto& thread : threads) thread.join();
}

// A pipe: who waits reads until the other end is closed.
class Gate {
 public:
  Gate() {
    if (pipe(ends_) != 0) std::abort();
  }
  ~Gate() {
    close(ends_[0]);
    open();
  }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  // Lets those who wait go on, once every process with the gate has opened it or ended.
  void open() {
    if (ends_[1] >= 0) close(ends_[1]);
    ends_[1] = -1;
  }
  void wait() {
    char nothing;
    open();
    while (read(ends_[0], &nothing, 1) > 0) {
    }
  }

 private:
  int ends_[2];
};

// A forked child that runs `work` and ends; a failed expectation in it is its failure.
template <class Work>
pid_t spawn(Work work) {
  std::cout.flush();
  const pid_t child = fork();
  if (child != 0) return child;
  work();
  std::cout.flush();
  _exit(testing::Test::HasFailure() ? 1 : 0);
}

// Waits for a child that must succeed; -1 for the only one.
inline void expect_success(pid_t child) {
  int status = -1;
  const pid_t ended = waitpid(child, &status, 0);
  ASSERT_TRUE(ended > 0 && (child < 0 || ended == child));
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "wait status " << status;
}

}  // namespace tests

#endif  // DYN_METRICS_TESTS_SUPPORT_HPP
