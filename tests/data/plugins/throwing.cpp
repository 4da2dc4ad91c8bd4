// A plugin, by plugin.hpp, that throws where its options say.
#include <dyn_metrics/plugin.hpp>

namespace plugin = dyn_metrics::plugin;

namespace {

[[noreturn]] void thrown(const std::string& where) {
  if (where == "number") throw 5;
  throw std::runtime_error("thrown by " + where);
}

class Instrument final : public plugin::Instrument {
  void add(plugin::Number) override { thrown("add"); }
  void set(plugin::Number) override { thrown("set"); }
  void observe(double, std::uint64_t) override { thrown("observe"); }
  void switch_states(std::uint64_t, std::uint64_t) override { thrown("switch_states"); }
  void dropped(plugin::Dropped) override { thrown("dropped"); }
  bool read(plugin::Value&) const override { thrown("read"); }
};

class Throwing final : public plugin::Registry {
 public:
  explicit Throwing(std::string_view where) : where_(where) { at("open"); }
  void family(const plugin::Descriptor&) override { at("family"); }
  plugin::Instrument* series(const plugin::Descriptor&) override {
    at("series");
    if (where_ == "series number") thrown("number");
    return &instrument_;
  }
  bool remove(std::string_view, const std::vector<plugin::Label>&) override {
    at("remove");
    return false;
  }
  void render(const plugin::Selection&, plugin::Output& output) override {
    output.write("thrown " + std::to_string(plugin::thrown_updates()) + "\n");
    at("render");
  }

 private:
  void at(const std::string& here) const {
    if (where_ == here) thrown(here);
  }

  std::string where_;
  Instrument instrument_;
};

}  // namespace

DYNM_REGISTRY_PLUGIN(Throwing);
