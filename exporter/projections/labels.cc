#include "exporter/projections/labels.h"

#include <fnmatch.h>

#include <algorithm>
#include <set>
#include <utility>

#include "dt/node_selector.h"
#include "exporter/printable.h"

namespace exporter {
namespace {

bool IsAlphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

bool MatchesAny(const std::vector<std::string>& globs, const std::string& name) {
  return std::ranges::any_of(globs, [&](const std::string& glob) {
    return fnmatch(glob.c_str(), name.c_str(), 0) == 0;
  });
}

// Collects the report node by node, in the order of the contract.
class Labelling {
 public:
  explicit Labelling(const LabelRules& rules) : rules_(rules) {}

  void AddNode(const dt::Tree& tree, const dt::Node& node, bool gives_labels) {
    const std::string path = tree.Path(node);
    const auto compatibles = tree.Compatible(node);
    if (!compatibles) {
      report_.rejected.push_back(
          {path, "", Rejection::kMalformed, Printable(compatibles.error().message)});
      return;
    }
    std::set<std::string_view> seen;  // a compatible repeated in one list counts one node
    for (std::size_t i = 0; i < compatibles->size(); ++i) {
      const std::string_view compatible = (*compatibles)[i];
      const bool counts = seen.insert(compatible).second;
      std::string key = gives_labels ? AddCompatible(path, compatible, counts) : "";
      report_.compatibles.push_back({path, std::string(compatible), i, std::move(key)});
    }
  }

  void AddDesignated(std::string path, bool enabled) {
    report_.designated.push_back({std::move(path), enabled});
  }

  LabelReport Finish() && {
    for (const std::string& name : order_) {
      const Named& named = by_name_.at(name);
      report_.labels.push_back(
          {Key(name), rules_.count_values ? std::to_string(named.nodes) : std::string("1")});
    }
    return std::move(report_);
  }

 private:
  struct Named {
    std::string compatible;  // the first that came to this name
    std::size_t nodes = 0;
  };

  std::string Key(const std::string& name) const { return rules_.prefix + "/" + name; }

  // The key that the compatible has, now or already; empty if none.
  std::string AddCompatible(const std::string& path, std::string_view compatible, bool counts) {
    const std::string name = LabelName(rules_, compatible);
    if (name.empty()) {
      Reject(path, compatible, Rejection::kEmpty, "no letter or digit; at least one expected");
      return "";
    }
    if (name.size() > kMaxLabelNameBytes) {
      Reject(path, compatible, Rejection::kTooLong,
             std::to_string(name.size()) + " characters; at most " +
                 std::to_string(kMaxLabelNameBytes) + " expected");
      return "";
    }
    if ((!rules_.include.empty() && !MatchesAny(rules_.include, name)) ||
        MatchesAny(rules_.exclude, name)) {
      return "";
    }
    auto [at, is_new] = by_name_.try_emplace(name, Named{std::string(compatible), 0});
    if (is_new) order_.push_back(name);
    if (at->second.compatible != compatible) {
      Reject(path, compatible, Rejection::kCollision,
             Key(name) + " stands for " + Printable(at->second.compatible) + " already");
      return "";
    }
    if (counts) ++at->second.nodes;
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

LabelReport ToLabels(const Inventory& inventory, const LabelRules& rules) {
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
  return std::move(labelling).Finish();
}

}  // namespace exporter
