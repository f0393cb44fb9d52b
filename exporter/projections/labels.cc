#include "exporter/projections/labels.h"

#include <fnmatch.h>

#include <algorithm>
#include <set>
#include <utility>

#include "dt/node_selector.h"
#include "exporter/printable.h"

namespace exporter {
namespace {

// What the names of the labels that are no compatible begin with.
constexpr std::string_view kReservedNames = "accelerator.";

bool IsAlphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

bool MatchesAny(const std::vector<std::string>& globs, const std::string& name) {
  return std::ranges::any_of(
      globs, [&](const std::string& glob) { return fnmatch(glob.c_str(), name.c_str(), 0) == 0; });
}

// Collects the report node by node, in the order of the contract.
class Labelling {
 public:
  explicit Labelling(const LabelRules& rules) : rules_(rules) {}

  void AddNode(const dt::Tree& tree, const dt::Node& node, bool gives_labels) {
    const std::string path = tree.Path(node);
    const auto compatibles = tree.Compatible(node);
    if (!compatibles && gives_labels) {
      report_.rejected.push_back(
          {path, "", Rejection::kMalformed, Printable(compatibles.error().message)});
    }
    if (!compatibles) return;
    for (std::size_t i = 0; i < compatibles->size(); ++i) {
      const std::string_view compatible = (*compatibles)[i];
      std::string key = gives_labels ? AddCompatible(path, compatible) : "";
      report_.compatibles.push_back({path, std::string(compatible), i, std::move(key)});
    }
  }

  void AddDesignated(std::string path, bool enabled) {
    report_.designated.push_back({std::move(path), enabled});
  }

  // The labels of an accelerator's compatibles. Its key is kept if it is asked for.
  void AddAccelerator(const Accelerator& accelerator, bool gives_labels, bool keep_key) {
    std::string key;
    if (gives_labels) {
      for (const std::string& compatible : accelerator.compatibles) {
        std::string added = AddCompatible(accelerator.address, compatible);
        if (compatible == accelerator.compatible) key = std::move(added);
      }
      Kind& kind = kinds_[accelerator.kind];
      kind.addresses.push_back(accelerator.address);
      const auto add = [&](const std::string& detail) {
        kind.details[detail].insert(accelerator.address);
      };
      if (accelerator.vendor) add("vendor." + *accelerator.vendor);
      if (accelerator.bound && accelerator.driver) add("driver." + *accelerator.driver);
    }
    if (keep_key) report_.accelerator_keys.push_back(std::move(key));
  }

  LabelReport Finish() && {
    for (const std::string& name : order_) {
      const Named& named = by_name_.at(name);
      Add(name, rules_.count_values ? std::to_string(named.places.size()) : "1", named.places,
          named.compatible);
    }
    for (const auto& [kind, found] : kinds_) AddKind(kind, found);
    return std::move(report_);
  }

 private:
  struct Named {
    std::string compatible;        // the first that came to this name
    std::set<std::string> places;  // the nodes and accelerators that have it
  };
  struct Kind {
    std::vector<std::string> addresses;
    std::map<std::string, std::set<std::string>> details;  // "vendor.nvidia": addresses
  };

  std::string Key(const std::string& name) const { return rules_.prefix + "/" + name; }

  bool IsChosen(const std::string& name) const {
    return (rules_.include.empty() || MatchesAny(rules_.include, name)) &&
           !MatchesAny(rules_.exclude, name);
  }

  void Add(const std::string& name, std::string value, const std::set<std::string>& places,
           std::string compatible = "") {
    report_.labels.push_back({Key(name), std::move(value)});
    report_.origins.push_back({std::move(compatible), {places.begin(), places.end()}});
  }

  // Bytewise by name: accelerator.gpu, accelerator.gpu.count, accelerator.gpu.driver.nouveau.
  void AddKind(const std::string& kind, const Kind& found) {
    const std::set<std::string> places(found.addresses.begin(), found.addresses.end());
    AddOfKind(kind, "1", places);
    AddOfKind(kind + ".count", std::to_string(found.addresses.size()), places);
    for (const auto& [detail, addresses] : found.details) {
      AddOfKind(std::string(kind).append(".").append(detail), "1", addresses);
    }
  }

  // `text` is what follows accelerator. before it is made a name.
  void AddOfKind(const std::string& text, std::string value, const std::set<std::string>& places) {
    const std::string name = LabelName(rules_, std::string(kReservedNames) + text);
    if (name.size() > kMaxLabelNameBytes) {
      Reject(*places.begin(), text, Rejection::kTooLong, TooLong(name));
    } else if (!kind_names_.insert(name).second) {
      // Two drivers, or kinds of a catalogue of one's own, may come to one name.
      Reject(*places.begin(), text, Rejection::kCollision, Key(name) + " is there already");
    } else if (IsChosen(name)) {
      Add(name, std::move(value), places);
    }
  }

  static std::string TooLong(const std::string& name) {
    return std::to_string(name.size()) + " characters; at most " +
           std::to_string(kMaxLabelNameBytes) + " expected";
  }

  // The key that the compatible has, now or already; empty if none.
  std::string AddCompatible(const std::string& place, std::string_view compatible) {
    const std::string name = LabelName(rules_, compatible);
    if (name.empty()) {
      Reject(place, compatible, Rejection::kEmpty, "no letter or digit; at least one expected");
      return "";
    }
    if (name.size() > kMaxLabelNameBytes) {
      Reject(place, compatible, Rejection::kTooLong, TooLong(name));
      return "";
    }
    if (name.starts_with(kReservedNames)) {
      Reject(place, compatible, Rejection::kCollision,
             "names that begin with " + std::string(kReservedNames) + " say what was found");
      return "";
    }
    if (!IsChosen(name)) return "";
    auto [at, is_new] = by_name_.try_emplace(name, Named{std::string(compatible), {}});
    if (is_new) order_.push_back(name);
    if (at->second.compatible != compatible) {
      Reject(place, compatible, Rejection::kCollision,
             Key(name) + " stands for " + Printable(at->second.compatible) + " already");
      return "";
    }
    at->second.places.insert(place);
    return Key(name);
  }

  void Reject(const std::string& path, std::string_view compatible, Rejection reason,
              std::string detail) {
    if (!rejected_.emplace(compatible).second) return;
    report_.rejected.push_back({path, std::string(compatible), reason, std::move(detail)});
  }

  const LabelRules& rules_;
  LabelReport report_;
  std::map<std::string, Named> by_name_;
  std::vector<std::string> order_;
  std::map<std::string, Kind> kinds_;
  std::set<std::string> kind_names_;  // of the labels that kinds_ have given
  std::set<std::string, std::less<>> rejected_;
};

}  // namespace

std::string_view ToString(Rejection reason) {
  switch (reason) {
    case Rejection::kCollision: return "collision";
    case Rejection::kEmpty: return "empty";
    case Rejection::kMalformed: return "malformed";
    case Rejection::kTooLong: break;
  }
  return "too_long";
}

bool IsLabelPrefix(std::string_view prefix) {
  if (prefix.empty() || prefix.size() > kMaxLabelPrefixBytes) return false;
  // Labels of lower-case alphanumerics and '-', neither first nor last, between dots.
  const auto is_edge = [](char c) { return IsAlphanumeric(c) && !(c >= 'A' && c <= 'Z'); };
  char before = '.';
  for (const char c : prefix) {
    if (c == '.' ? !is_edge(before) : !is_edge(c) && (c != '-' || before == '.')) return false;
    before = c;
  }
  return is_edge(before);
}

std::string LabelName(const LabelRules& rules, std::string_view compatible) {
  std::string name;
  if (const std::size_t comma = compatible.find(','); comma != std::string_view::npos) {
    if (const auto rename = rules.vendor_renames.find(compatible.substr(0, comma));
        rename != rules.vendor_renames.end()) {
      name = rename->second;
      compatible.remove_prefix(comma);
    }
  }
  name += compatible;
  for (char& c : name) {
    if (c == ',') {
      c = '-';
    } else if (!IsAlphanumeric(c) && c != '.' && c != '_' && c != '-') {
      c = '_';
    }
  }
  name.erase(std::find_if(name.rbegin(), name.rend(), IsAlphanumeric).base(), name.end());
  name.erase(name.begin(), std::find_if(name.begin(), name.end(), IsAlphanumeric));
  return name;
}

bool GivesLabels(const Accelerator& accelerator, const LabelRules& rules) {
  if (accelerator.kind == kDisplayKind) return false;
  switch (rules.accelerator_state) {
    case AcceleratorState::kDescribed: return true;
    case AcceleratorState::kEnabled: return accelerator.enabled;
    case AcceleratorState::kBound: return accelerator.bound;
    case AcceleratorState::kReady: break;
  }
  return accelerator.ready;
}

LabelReport ToLabels(const Inventory& inventory, const LabelRules& rules,
                     const std::vector<Accelerator>& departed) {
  Labelling labelling(rules);
  if (inventory.devicetree != nullptr) {
    const dt::Tree& tree = *inventory.devicetree;
    labelling.AddNode(tree, tree.root(), true);
    std::map<std::string, const dt::Node*> designated;
    for (const std::string& pattern : rules.nodes) {
      for (const dt::Node* node : dt::SelectNodes(tree, pattern)) {
        if (node != &tree.root()) designated.emplace(tree.Path(*node), node);
      }
    }
    for (const auto& [path, node] : designated) {
      labelling.AddDesignated(path, node->enabled());
      labelling.AddNode(tree, *node, node->enabled() || rules.include_disabled);
    }
  }
  for (const Accelerator& accelerator : inventory.accelerators) {
    labelling.AddAccelerator(accelerator, GivesLabels(accelerator, rules), true);
  }
  for (const Accelerator& accelerator : departed) {
    labelling.AddAccelerator(accelerator, true, false);
  }
  return std::move(labelling).Finish();
}

}  // namespace exporter
