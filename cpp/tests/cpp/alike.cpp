// The worker of system/examples/alike.rs in C++.
#include <dyn_metrics/system.hpp>

#include <condition_variable>
#include <iostream>
#include <mutex>
#include <stdexcept>

using namespace dyn_metrics::health;
using namespace std::chrono_literals;

namespace {

CheckOptions often() { return CheckOptions().interval(50ms).timeout(30s); }

[[noreturn]] void hang() {
  static std::mutex mutex;
  static std::condition_variable never;
  std::unique_lock lock(mutex);
  for (;;) never.wait(lock);
}

void add_checks(const System& server) {
  server.check("good", [] { return "12 entries"; }, often());
  server.check("silent", [] {}, often().probe(Probe::liveness));
  server.check("failing", [] { return Outcome::failed("no model"); }, often().probe(Probe::health));
  server.check("empty", [] { return false; }, often().informative());
  server.check("raising", [] { throw std::runtime_error("on purpose"); }, often().informative());
  server.check("hung", hang, often().probe(Probe::health).timeout(200ms));
  server.check("third", [] { throw std::runtime_error("not yet"); }, often().failures(1000).probe(Probe::health));
  server.beat("beat", 1ms, often().informative());
  server.space("space", "/proc", 0, often());
  server.etcd("etcd", "http://127.0.0.1:1", 0, false, {}, often().informative());
}

}  // namespace

int main() {
  const System server =
      System::start(SystemOptions().host("127.0.0.1").port(0).version("1.2.3").starts_until_told());
  add_checks(server);
  server.set_state(State::ready);
  std::cout << server.port() << std::endl;
  std::string line;
  std::getline(std::cin, line);
  server.set_state(State::draining);
  std::getline(std::cin, line);
  server.stop();
}
