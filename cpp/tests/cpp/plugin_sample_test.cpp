// The sample plugin, asked through its table as the library asks: under sanitizers, and by several threads at once.
#include <dlfcn.h>

#include <dyn_metrics/plugin.h>

#include "support.hpp"

namespace {

dynm_plugin_text text(std::string_view of) { return {of.data(), of.size()}; }

std::int32_t append(void* to, const char* data, std::size_t length) {
  static_cast<std::string*>(to)->append(data, length);
  return DYNM_PLUGIN_OK;
}

std::int32_t refuse(void*, const char*, std::size_t) { return DYNM_PLUGIN_ERROR; }

dynm_plugin_output output_to(std::string& to) { return {sizeof(dynm_plugin_output), 0, &to, append}; }

const dynm_registry_plugin& table() {
  // Never unloaded, as in the library.
  void* const object = dlopen(SAMPLE_PLUGIN, RTLD_NOW | RTLD_LOCAL);
  if (object == nullptr) throw std::runtime_error(dlerror());
  return *static_cast<const dynm_registry_plugin*>(dlsym(object, "dynm_registry_plugin_v1"));
}

// A registry of the plugin's, closed at the end.
class Host {
 public:
  explicit Host(std::string_view config = {}) : plugin_(table()) {
    const dynm_plugin_options options{sizeof options, DYNM_PLUGIN_ABI_VERSION, text(config)};
    const auto error = output_to(error_);
    status_ = plugin_.open(&options, &registry_, &error);
  }
  ~Host() {
    if (status_ == DYNM_PLUGIN_OK) plugin_.close(registry_);
  }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  // A series with a label of this value; its family is made before it.
  void* series(std::uint32_t kind, std::string_view name, std::string_view value) {
    const double bounds[] = {1, 2};
    const dynm_plugin_text states[] = {text("off"), text("on")};
    const dynm_plugin_label label{text("label"), text(value)};
    dynm_plugin_descriptor made{};
    made.struct_size = sizeof made;
    made.kind = kind;
    made.name = text(name);
    made.bounds = bounds;
    made.bound_count = kind == DYNM_PLUGIN_HISTOGRAM ? 2 : 0;
    made.states = states;
    made.state_count = kind == DYNM_PLUGIN_STATE_SET ? 2 : 0;
    const auto error = output_to(error_);
    void* instrument = nullptr;
    EXPECT_EQ(plugin_.family(registry_, &made, &error), DYNM_PLUGIN_OK) << error_;
    made.labels = &label;
    made.label_count = 1;
    EXPECT_EQ(plugin_.series(registry_, &made, &instrument, &error), DYNM_PLUGIN_OK) << error_;
    return instrument;
  }

  std::string page(std::uint32_t max_level = 255, std::string_view prefix = {}) {
    std::string written, error;
    const auto output = output_to(written), reasons = output_to(error);
    const dynm_plugin_selection selection{sizeof selection, max_level, text(prefix), nullptr, 0};
    EXPECT_EQ(plugin_.render(registry_, &selection, &output, &reasons), DYNM_PLUGIN_OK) << error;
    return written;
  }

  const dynm_registry_plugin& plugin() const { return plugin_; }
  void* registry() const { return registry_; }
  std::int32_t status() const { return status_; }
  const std::string& error() const { return error_; }

 private:
  const dynm_registry_plugin& plugin_;
  void* registry_ = nullptr;
  std::string error_;
  std::int32_t status_;
};

TEST(PluginSample, ShowsEveryKind) {
  Host host("a comment");
  const dynm_registry_plugin& plugin = host.plugin();
  plugin.add_integer(host.series(DYNM_PLUGIN_COUNTER, "a_total", "x\"\\\n"), 5);
  plugin.set_double(host.series(DYNM_PLUGIN_GAUGE, "b", ""), 2.5);
  void* const histogram = host.series(DYNM_PLUGIN_HISTOGRAM, "c", "");
  plugin.observe(histogram, 1.5, 3);
  plugin.observe(histogram, std::numeric_limits<double>::infinity(), 1);
  plugin.observe(host.series(DYNM_PLUGIN_TALLY, "d", ""), 0.1, 2);
  host.series(DYNM_PLUGIN_INFO, "e_info", "");
  plugin.switch_states(host.series(DYNM_PLUGIN_STATE_SET, "f", ""), 2, 1);
  host.series(DYNM_PLUGIN_STATE_SET, "g", "");
  EXPECT_EQ(host.page(),
            "# a comment\n"
            "# TYPE a_total counter\na_total{label=\"x\\\"\\\\\\n\"} 5\n"
            "# TYPE b gauge\nb{label=\"\"} 3\n"
            "# TYPE c histogram\nc_bucket{label=\"\",le=\"1\"} 0\nc_bucket{label=\"\",le=\"2\"} 3\n"
            "c_bucket{label=\"\",le=\"+Inf\"} 4\nc_sum{label=\"\"} 4.5\nc_count{label=\"\"} 4\n"
            "# TYPE d summary\nd_sum{label=\"\"} 0.2\nd_count{label=\"\"} 2\n"
            "# TYPE e_info gauge\ne_info{label=\"\"} 1\n"
            "# TYPE f gauge\nf{label=\"\",f=\"off\"} 0\nf{label=\"\",f=\"on\"} 1\n");
  EXPECT_EQ(host.page(255, "e_"), "# a comment\n# TYPE e_info gauge\ne_info{label=\"\"} 1\n");
}

TEST(PluginSample, ReadsBackWhatItHas) {
  Host host;
  std::uint64_t buckets[3] = {};
  dynm_plugin_value value{};
  value.struct_size = sizeof value;
  value.buckets = buckets;
  value.bucket_count = 3;
  void* const histogram = host.series(DYNM_PLUGIN_HISTOGRAM, "c", "");
  host.plugin().observe(histogram, 2, 7);
  ASSERT_EQ(host.plugin().read(histogram, &value), DYNM_PLUGIN_OK);
  EXPECT_EQ(std::vector<std::uint64_t>(buckets, buckets + 3), (std::vector<std::uint64_t>{0, 7, 0}));
  EXPECT_EQ(value.count, 7u);
  EXPECT_EQ(value.real, 14);
  // A host with less room than there is.
  value.bucket_count = 1;
  EXPECT_EQ(host.plugin().read(histogram, &value), DYNM_PLUGIN_OK);
  EXPECT_EQ(host.plugin().read(host.series(DYNM_PLUGIN_GAUGE, "unset", ""), &value), DYNM_PLUGIN_NONE);
}

TEST(PluginSample, RefusesWhatItDoesNotKnow) {
  const Host host("two\nlines");
  EXPECT_EQ(host.status(), DYNM_PLUGIN_ERROR);
  EXPECT_EQ(host.error(), "found two lines, expected a comment of one");

  Host other;
  std::string error;
  const auto reasons = output_to(error);
  dynm_plugin_descriptor unknown{};
  unknown.struct_size = sizeof unknown;
  unknown.kind = 99;
  unknown.name = text("x");
  void* instrument = nullptr;
  EXPECT_EQ(other.plugin().family(other.registry(), &unknown, &reasons), DYNM_PLUGIN_OK);
  EXPECT_EQ(other.plugin().series(other.registry(), &unknown, &instrument, &reasons), DYNM_PLUGIN_ERROR);
  EXPECT_EQ(error, "found a type that this plugin doesn't know");
}

TEST(PluginSample, EndsWhenNoMoreTextIsTaken) {
  Host host;
  host.series(DYNM_PLUGIN_INFO, "e_info", "");
  std::string error;
  const dynm_plugin_output full{sizeof full, 0, nullptr, refuse};
  const auto reasons = output_to(error);
  const dynm_plugin_selection selection{sizeof selection, 255, text(""), nullptr, 0};
  EXPECT_EQ(host.plugin().render(host.registry(), &selection, &full, &reasons), DYNM_PLUGIN_ERROR);
}

TEST(PluginSample, LeavesOutWhatIsAboveALevel) {
  Host host;
  dynm_plugin_descriptor debug{};
  debug.struct_size = sizeof debug;
  debug.kind = DYNM_PLUGIN_INFO;
  debug.level = 5;
  debug.name = text("debug_info");
  std::string error;
  const auto reasons = output_to(error);
  void* instrument = nullptr;
  host.plugin().family(host.registry(), &debug, &reasons);
  host.plugin().series(host.registry(), &debug, &instrument, &reasons);
  EXPECT_EQ(host.page(5), "# TYPE debug_info gauge\ndebug_info 1\n");
  EXPECT_EQ(host.page(4), "");
}

TEST(PluginSample, CountsWhatSeveralThreadsCountWhileItIsShown) {
  constexpr int threads = 4;
  const std::uint64_t times = tests::scaled(2000);
  Host host;
  void* const counter = host.series(DYNM_PLUGIN_COUNTER, "a_total", "");
  void* const histogram = host.series(DYNM_PLUGIN_HISTOGRAM, "c", "");
  std::vector<std::thread> all;
  for (int i = 0; i < threads; i++) {
    all.emplace_back([&, i] {
      host.series(DYNM_PLUGIN_GAUGE, "g" + std::to_string(i), "");
      for (std::uint64_t n = 0; n < times; n++) {
        host.plugin().add_double(counter, 0.5);
        host.plugin().observe(histogram, 1, 1);
      }
    });
  }
  for (int i = 0; i < 20; i++) host.page();
  for (std::thread& thread : all) thread.join();
  const std::string page = host.page(), total = std::to_string(threads * times);
  EXPECT_NE(page.find("a_total{label=\"\"} " + std::to_string(threads * times / 2) + '\n'), std::string::npos) << page;
  EXPECT_NE(page.find("c_count{label=\"\"} " + total + '\n'), std::string::npos) << page;
}

}  // namespace
