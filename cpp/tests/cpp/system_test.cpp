// The process's own server from C++: what a check may be, and what becomes of what it throws.
#include <dyn_metrics/system.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stdexcept>

#include "support.hpp"

namespace {

using namespace dyn_metrics::health;
using dyn_metrics::Registry;
using namespace std::chrono_literals;

// Status line, header lines and body of GET.
std::string get(std::uint16_t port, const std::string& path) {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    const std::string request = "GET " + path + " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    EXPECT_EQ(::write(socket, request.data(), request.size()), static_cast<ssize_t>(request.size()));
    char buffer[4096];
    for (ssize_t n; (n = ::read(socket, buffer, sizeof buffer)) > 0;) answer.append(buffer, static_cast<std::size_t>(n));
  }
  ::close(socket);
  return answer;
}

template <class Wanted>
void wait_for(const Wanted& wanted) {
  for (int n = 0; n < 3000; n++, std::this_thread::sleep_for(20ms))
    if (wanted()) return;
  ADD_FAILURE() << "waited in vain";
}

// The part of /health's JSON that is about a check.
std::string part(const System& system, const std::string& name) {
  const std::string all = system.report(Probe::health);
  const std::size_t at = all.find("\"name\": \"" + name + "\"");
  if (at == std::string::npos) return {};
  const std::size_t begin = all.rfind('{', at);
  return all.substr(begin, all.find('}', at) - begin);
}

void wait_for_check(const System& system, const std::string& name, const std::string& status, const std::string& reason = {}) {
  std::string seen;
  for (int n = 0; n < 3000; n++, std::this_thread::sleep_for(20ms)) {
    seen = part(system, name);
    if (seen.find("\"status\": \"" + status + "\"") != std::string::npos && seen.find(reason) != std::string::npos) return;
  }
  ADD_FAILURE() << name << ": waited in vain for another than " << seen;
}

CheckOptions often() { return CheckOptions().interval(20ms).timeout(500ms); }

class Health : public testing::Test {
 protected:
  tests::Directory directory;
  Registry registry = Registry::open(directory.file("s"));
  SystemOptions options = SystemOptions().registry(registry).host("127.0.0.1").port(0).version("1.2.3");
};

TEST_F(Health, ProbesDifferAndStatesShow) {
  const System system = System::start(SystemOptions(options).starts_until_told());
  std::atomic<bool> alive{true}, ready{true};
  system.check("alive", [&] { return alive.load(); }, often().probe(Probe::liveness));
  system.check("ready", [&] { if (!ready) throw std::runtime_error("no model"); }, often());
  system.check("seen", [] { return Outcome::failed("cold"); }, often().informative());
  EXPECT_NE(get(system.port(), "/readiness?verbose=0").find("503 "), std::string::npos);
  wait_for_check(system, "ready", "ok");
  wait_for_check(system, "alive", "ok");
  wait_for_check(system, "seen", "failing", "cold");
  system.set_state(State::ready);
  EXPECT_NE(get(system.port(), "/readiness?verbose=0").find("\r\n\r\nready\n"), std::string::npos);
  EXPECT_NE(get(system.port(), "/health?verbose=0").find("degraded\n"), std::string::npos);
  ready = false;
  wait_for_check(system, "ready", "failing", "\"reason\": \"no model\"");
  EXPECT_NE(get(system.port(), "/readiness").find("HTTP/1.1 503"), std::string::npos);
  EXPECT_NE(get(system.port(), "/liveness").find("HTTP/1.1 200"), std::string::npos);
  alive = false;
  wait_for_check(system, "alive", "failing", "it failed and gave no reason");
  EXPECT_NE(get(system.port(), "/livez?verbose=0").find("not_live\n"), std::string::npos);
  system.set_state(State::draining);
  EXPECT_NE(system.report(Probe::health).find("\"state\": \"draining\""), std::string::npos);
  EXPECT_EQ(system.url(), "http://127.0.0.1:" + std::to_string(system.port()));
}

TEST_F(Health, WhatAChecksGivesAndThrows) {
  const System system = System::start(options);
  system.check("nothing", [] {}, often());
  system.check("text", [] { return "12 entries"; }, often());
  system.check("string", [] { return std::string("13 entries"); }, often());
  system.check("outcome", [](const dyn_metrics::health::Run& run) { return run.is_cancelled() ? Outcome::failed("late") : Outcome::ok("fine"); }, often());
  system.check("exception", [] { throw std::invalid_argument("wrong"); }, often());
  system.check("words", [] { throw "words"; }, often());
  system.check("number", [] { throw 7; }, often());
  system.check("not_utf8", [] { throw std::runtime_error("\xff"); }, often());
  wait_for_check(system, "nothing", "ok", "\"reason\": \"\"");
  wait_for_check(system, "text", "ok", "12 entries");
  wait_for_check(system, "string", "ok", "13 entries");
  wait_for_check(system, "outcome", "ok", "fine");
  wait_for_check(system, "exception", "failing", "\"reason\": \"wrong\"");
  wait_for_check(system, "words", "failing", "\"reason\": \"words\"");
  wait_for_check(system, "number", "failing", "it threw what is no std::exception");
  wait_for_check(system, "not_utf8", "failing", "\xef\xbf\xbd");
  EXPECT_NE(get(system.port(), "/liveness").find("HTTP/1.1 200"), std::string::npos);
}

TEST_F(Health, AHungCheckIsWokenAndDestroyedOnce) {
  struct Gate {
    std::mutex mutex;
    std::condition_variable changed;
    bool is_open = false;
    std::atomic<int> runs{0};
    void open() {
      const std::lock_guard lock(mutex);
      is_open = true;
      changed.notify_all();
    }
  };
  const auto gate = std::make_shared<Gate>();
  const System system = System::start(options);
  const auto hangs = [gate](const dyn_metrics::health::Run& run) {
    gate->runs++;
    std::unique_lock lock(gate->mutex);
    gate->changed.wait(lock, [&] { return gate->is_open; });
    EXPECT_TRUE(run.is_cancelled());
  };
  system.check("hung", hangs, CheckOptions().interval(10ms).timeout(50ms), [gate] { throw std::runtime_error("not yet"); });
  wait_for_check(system, "hung", "failing", " s, limit 0.05 s");
  EXPECT_EQ(gate->runs, 1) << "one at a time";
  system.stop();
  EXPECT_GE(gate.use_count(), 2) << "it still runs";
  gate->open();
  wait_for([&] { return gate.use_count() == 2; });  // `hangs` here has a share
}

TEST_F(Health, ChecksThatComeWithTheLibrary) {
  const System system = System::start(options);
  const auto done = registry.counter("done_total");
  const auto pending = registry.gauge("pending");
  const auto amount = registry.float_counter("amount_total");
  const auto level = registry.float_gauge("level");
  const Beat beat = system.beat("loop", 300ms, often());
  system.progress("engine", done, pending, 300ms, often());
  system.progress("other", amount, level, 300ms, often());
  system.space("enough", directory.file(""), 1, often());
  system.space("more", directory.file(""), UINT64_MAX, often());
  system.etcd("etcd", "http://127.0.0.1:1", 7, true, "/workers/", often());
  system.nats("nats", "nats://127.0.0.1:1", "generate", "x", often());
  wait_for_check(system, "engine", "ok", "nothing pending");
  wait_for_check(system, "enough", "ok", "bytes free");
  wait_for_check(system, "more", "failing", "expected 18446744073709551615");
  wait_for_check(system, "etcd", "failing", "http://127.0.0.1:1: no connection");
  wait_for_check(system, "nats", "failing", "nats://127.0.0.1:1: no connection");
  wait_for_check(system, "loop", "failing", "stalled: no beat for");
  wait_for([&] { return beat.beat(), part(system, "loop").find("\"ok\"") != std::string::npos; });
  pending.set(2);
  level.set(0.5);
  wait_for_check(system, "engine", "failing", "stalled: 2 pending");
  wait_for_check(system, "other", "failing", "stalled: 0.5 pending");
  wait_for([&] { return done.inc(), part(system, "engine").find("\"ok\"") != std::string::npos; });
  const std::string page = get(system.port(), "/metrics");
  EXPECT_NE(page.find("\ndone_total "), std::string::npos) << "what this process has registered";
  system.remove("nats");
  EXPECT_EQ(system.try_remove("nats").status(), DYNM_NOT_FOUND);
  EXPECT_EQ(part(system, "nats"), "");
}

TEST_F(Health, ACanaryFliesWhenIdleAndIsCleanedUp) {
  struct Log {
    std::mutex mutex;
    std::condition_variable ended;
    bool ends = false;
    std::vector<Cancelled> seen;
  };
  const auto log = std::make_shared<Log>();
  const auto idle = std::make_shared<std::atomic<bool>>(false);
  const System system = System::start(options);
  const auto request = [log] {
    std::unique_lock lock(log->mutex);
    log->ended.wait(lock, [&] { return log->ends; });
    log->ends = false;
    throw std::runtime_error("cancelled");
  };
  const auto clean_up = [log](Cancelled why) {
    const std::lock_guard lock(log->mutex);
    log->seen.push_back(why);
    if (why == Cancelled::now) log->ends = true;
    log->ended.notify_all();
  };
  system.canary("canary", request, CheckOptions().interval(20ms).timeout(100ms), [idle] { return idle->load(); }, clean_up);
  wait_for_check(system, "canary", "ok", "not sent: the process is at work");
  *idle = true;
  wait_for_check(system, "canary", "failing", "limit 0.1 s");
  wait_for([&] { return std::lock_guard(log->mutex), log->seen.size() >= 4; });
  *idle = false;
  wait_for_check(system, "canary", "ok");
  const std::lock_guard lock(log->mutex);
  const std::vector<Cancelled> first(log->seen.begin(), log->seen.begin() + 4);
  EXPECT_EQ(first, (std::vector{Cancelled::now, Cancelled::done, Cancelled::now, Cancelled::done}));
}

TEST_F(Health, AnswersInAFormatOfOnesOwn) {
  const System system = System::start(SystemOptions(options).format([](const Report& report) {
    if (report.probe == Probe::liveness) throw std::runtime_error("on purpose");
    EXPECT_NE(report.json.find("\"version\": \"1.2.3\""), std::string_view::npos);
    return Answer{"application/xml", "<" + std::string(report.status) + "/>"};
  }));
  std::string answer;  // on a busy machine one may take too long, and is answered in our format
  wait_for([&] { return (answer = get(system.port(), "/readiness")).find("content-type: application/xml\r\n") != std::string::npos; });
  EXPECT_NE(answer.find("\r\n\r\n<ready/>"), std::string::npos) << answer;
  EXPECT_NE(get(system.port(), "/liveness").find("\"status\": \"live\""), std::string::npos) << "ours where it throws";
}

TEST_F(Health, PathsThresholdsAndTheWholeSegmentAreOptions) {
  Registry::open(registry.path()).child("other_").counter("seen_total").inc();
  const System system = System::start(SystemOptions(options).health_path("/h").live_path("/l").whole_segment());
  EXPECT_NE(get(system.port(), "/h").find("\"checks\""), std::string::npos);
  EXPECT_NE(get(system.port(), "/l").find("\"status\": \"live\""), std::string::npos);
  EXPECT_NE(get(system.port(), "/metrics").find("\nother_seen_total 1\n"), std::string::npos);
  const auto works = std::make_shared<std::atomic<int>>(0);
  const auto check = [works] { return works->fetch_add(1) > 0 ? Outcome::ok() : Outcome::failed("cold"); };
  system.try_check("slow", check, often().failures(1).successes(3));
  wait_for_check(system, "slow", "ok");
  EXPECT_GE(works->load(), 4) << "a failure, and three successes in a row";
}

TEST_F(Health, RefusalsSayWhy) {
  const System system = System::start(options);
  const auto status = [&](const std::string& name, const CheckOptions& given) { return system.try_check(name, [] {}, given).status(); };
  EXPECT_EQ(status("once", {}), DYNM_OK);
  EXPECT_EQ(status("once", {}), DYNM_CONFLICT);
  EXPECT_EQ(status("a b", {}), DYNM_NAME);
  EXPECT_EQ(status("a", CheckOptions().interval(-1s)), DYNM_OPTION);
  EXPECT_EQ(status("a", CheckOptions().failures(1001)), DYNM_OPTION);
  const auto live = CheckOptions().probe(Probe::liveness);
  const auto refused = system.try_etcd("etcd", "http://127.0.0.1", 0, false, {}, live);
  EXPECT_EQ(refused.status(), DYNM_OPTION);
  EXPECT_NE(std::string(refused.message()).find("it asks others over the network"), std::string::npos) << refused.message();
  EXPECT_THROW(system.etcd("etcd", "https://127.0.0.1"), dyn_metrics::Error);
  const auto taken = System::try_start(SystemOptions(options).port(system.port()));
  EXPECT_EQ(taken.status(), DYNM_IN_USE);
  EXPECT_NE(std::string(taken.message()).find("the address is already in use"), std::string::npos) << taken.message();
  EXPECT_FALSE(*taken);
  EXPECT_EQ(taken->try_check("a", [] {}).status(), DYNM_NULL);
  system.stop();
  system.stop();
  EXPECT_EQ(status("late", {}), DYNM_CLOSED);
  EXPECT_EQ(system.try_canary("late", [] {}).status(), DYNM_CLOSED);
  EXPECT_EQ(system.try_beat("late", Beat(), 1s).status(), DYNM_CLOSED);
  const auto total = registry.counter("late_total");
  EXPECT_EQ(system.try_progress("late", total, registry.gauge("late"), 1s).status(), DYNM_CLOSED);
  EXPECT_EQ(system.try_space("late", "/", 1).status(), DYNM_CLOSED);
  EXPECT_EQ(system.try_nats("late", "nats://127.0.0.1:1").status(), DYNM_CLOSED);
  EXPECT_EQ(system.try_set_state(State::draining).status(), DYNM_CLOSED);
  EXPECT_EQ(get(system.port(), "/live"), "");
}

TEST_F(Health, TheEnvironmentStartsItAndTheLastCopyStopsIt) {
  const auto from_env = [&] { return System::try_start(SystemOptions::from_env().registry(registry)); };
  EXPECT_TRUE(from_env().ok());
  EXPECT_FALSE(*from_env()) << "nobody asks for one";
  setenv("DYN_SYSTEM_ENABLED", "perhaps", 1);
  EXPECT_EQ(from_env().status(), DYNM_OPTION);
  setenv("DYN_SYSTEM_ENABLED", "true", 1);
  setenv("DYN_SYSTEM_PORT", "0", 1);
  setenv("DYN_SYSTEM_HOST", "127.0.0.1", 1);
  std::uint16_t port = 0;
  {
    const System system = from_env().or_throw(), copy = system;
    port = copy.port();
    EXPECT_NE(get(port, "/live").find("HTTP/1.1 200"), std::string::npos);
  }
  EXPECT_EQ(get(port, "/live"), "");
}

// Threads of this process.
std::ptrdiff_t threads() {
  const std::filesystem::directory_iterator all("/proc/self/task");
  return std::distance(begin(all), end(all));
}

TEST_F(Health, AProgramThatStartsNoneHasNoThreadMore) {
  registry.counter("a_total").inc();
  EXPECT_EQ(threads(), 1);
}

TEST_F(Health, AForkedChildStartsItsOwn) {
  const System system = System::start(options);
  const pid_t child = fork();
  if (child == 0) {
    const bool refuses = system.try_check("a", [] {}).status() == DYNM_CLOSED;
    system.stop();
    const auto own = System::try_start(options);
    const bool answers = own.ok() && get(own->port(), "/live").find("HTTP/1.1 200") != std::string::npos;
    _exit(refuses && answers && own->port() != system.port() ? 0 : 1);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_NE(get(system.port(), "/live").find("HTTP/1.1 200"), std::string::npos);
}

}  // namespace
