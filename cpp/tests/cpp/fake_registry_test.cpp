// What a third party's own tests may look like: its instrumentation against a FakeRegistry.
#include <dyn_metrics/testing.hpp>

#include "support.hpp"

namespace {

using dyn_metrics::Counter;
using dyn_metrics::Registry;
using dyn_metrics::testing::FakeRegistry;

// A transfer library that counts, and that must work without metrics, too.
class Transfers {
 public:
  explicit Transfers(const Registry& registry)
      : bytes_(registry.try_family<Counter>(dyn_metrics::Options("transfer_bytes_total", "Bytes"), {"direction"})
                   .value()),
        seconds_(registry.try_histogram("transfer_seconds", "Time", {0.5, 1}).value()),
        running_(registry.try_gauge("transfer_running", "Under way").value()) {}

  bool send(std::uint64_t bytes, double seconds) const {
    const auto guard = running_.track();
    most_running = running_.value();
    if (bytes == 0) throw std::invalid_argument("nothing to send");
    bytes_.with("out").inc_by(bytes);
    seconds_.observe(seconds);
    return true;
  }

  mutable std::int64_t most_running = 0;

 private:
  dyn_metrics::Family<Counter> bytes_;
  dyn_metrics::Histogram seconds_;
  dyn_metrics::Gauge running_;
};

class TransfersTest : public testing::Test {
 protected:
  FakeRegistry registry;
};

TEST_F(TransfersTest, CountWhatIsSent) {
  const Transfers transfers(registry);
  transfers.send(100, 0.25);
  transfers.send(11, 2);
  EXPECT_EQ(registry.value("transfer_bytes_total", {{"direction", "out"}}), 111);
  EXPECT_EQ(registry.count("transfer_seconds"), 2U);
  EXPECT_EQ(registry.sum("transfer_seconds"), 2.25);
  EXPECT_EQ(registry.buckets("transfer_seconds"), (std::vector<std::uint64_t>{1, 0, 1}));
  EXPECT_FALSE(registry.has("transfer_bytes_total", {{"direction", "in"}}));
}

TEST_F(TransfersTest, AreNoLongerRunningAfterAnException) {
  const Transfers transfers(registry);
  EXPECT_THROW(transfers.send(0, 1), std::invalid_argument);
  EXPECT_EQ(transfers.most_running, 1);
  EXPECT_EQ(registry.value("transfer_running"), 0);
  EXPECT_FALSE(registry.has("transfer_bytes_total", {{"direction", "out"}}));
}

TEST_F(TransfersTest, WorkWithoutMetrics) {
  registry.fail_registrations();
  const Transfers without(registry);
  EXPECT_TRUE(without.send(100, 1));
  registry.allow_registrations();
  EXPECT_FALSE(registry.has("transfer_running"));

  const Transfers before(registry);
  registry.fill();
  EXPECT_TRUE(before.send(100, 1)) << "no series for the direction any more";
  EXPECT_EQ(registry.count("transfer_seconds"), 1U);
}

TEST_F(TransfersTest, SeeNothingOfAnotherTest) {
  EXPECT_FALSE(registry.has("transfer_running"));
  EXPECT_EQ(registry.exposition().find("transfer_"), std::string::npos);
}

}  // namespace
