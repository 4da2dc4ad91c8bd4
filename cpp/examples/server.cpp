// A server that counts: threads that answer requests, a process beside them that counts the same series, and a page.
//
//     c++ -std=c++17 -pthread server.cpp $(pkg-config --cflags --libs dyn_metrics) -o server && ./server
//
// Meanwhile or afterwards, see the same numbers with: dyn-metrics dump
#include <sys/wait.h>
#include <unistd.h>

#include <dyn_metrics.hpp>

#include <atomic>
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace dm = dyn_metrics;
using namespace std::chrono_literals;

// Everything the server counts: made once, and copied freely. Registration looks names up; updates don't.
struct Metrics {
  explicit Metrics(const dm::Registry& registry)
      : requests(registry.family<dm::Counter>(dm::Options("requests_total", "Requests by model and outcome"),
                                              {"model", "outcome"})),
        in_progress(registry.gauge("requests_in_progress", "Requests being answered")),
        latency(registry.create<dm::Histogram>(dm::Options("request_seconds", "Time a request takes")
                                                   .unit("seconds")
                                                   .bounds(dm::exponential_bounds(0.0001, 4, 8)))),
        tokens(registry.tally("tokens", "Tokens in an answer")),
        busy(registry.duration_counter("busy_seconds_total", "Time spent on requests")),
        state(registry.state_set("state", "What the server does", {"starting", "ready", "draining"})) {
    registry.info("build_info", "What runs here", {{"version", "1.0"}});
  }

  dm::Family<dm::Counter> requests;
  dm::Gauge in_progress;
  dm::Histogram latency;
  dm::Tally tokens;
  dm::DurationCounter busy;
  dm::StateSet state;
};

// Answers a request; every tenth one can't be.
static int answer(int number) {
  std::this_thread::sleep_for(100us);
  if (number % 10 == 9) throw std::runtime_error("out of memory");
  return 50 + number;
}

static void serve(const Metrics& metrics, const std::string& model, int number) {
  const auto guard = metrics.in_progress.track();
  const dm::ScopedTimer busy(metrics.busy);
  try {
    // Observed also when it throws.
    const int tokens = metrics.latency.time([&] { return answer(number); });
    metrics.tokens.observe(tokens);
    metrics.requests.with(model, "ok").inc();
  } catch (const std::runtime_error&) {
    metrics.requests.with(model, "failed").inc();
  }
}

static void serve_all(const Metrics& metrics, int threads) {
  std::atomic<int> next{0};
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; i++) {
    workers.emplace_back([&] {
      for (int number = next++; number < 100; number = next++) {
        serve(metrics, number % 2 == 0 ? "llama" : "gpt", number);
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
}

int main() {
  try {
    const dm::Registry registry = dm::Registry::root().child("server_", {{"namespace", "prod"}});
    const Metrics metrics(registry);
    metrics.state.set("ready");

    // A child process counts with the same handles; its gauges are its own.
    const pid_t child = fork();
    if (child == 0) {
      serve_all(metrics, 1);
      _exit(0);
    }
    serve_all(metrics, 3);
    if (child > 0) waitpid(child, nullptr, 0);
    metrics.state.set("draining");

    std::cout << "answered " << metrics.latency.count() << " requests in two processes, "
              << metrics.requests.with("gpt", "failed").value() << " failed\n"
              << registry.render();
  } catch (const dm::Error& error) {
    // What can't be counted is no reason to stop: Registry::try_root() and its like give handles that work in any case.
    std::cerr << error.what() << '\n';
    return 1;
  }
}
