// Any compatibles of a root give labels that Kubernetes takes, or are rejected with the
// reason: each by the contract's mapping, in their order, the first keeping a name that two
// come to. Any prefix is one that Kubernetes takes, or is refused. Globs choose among the
// labels and make none.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "exporter/printable.h"
#include "exporter/projections/labels.h"
#include "tests/fuzz/outputs.h"
#include "tests/test_support/tree.h"

namespace {

using exporter::Rejection;

// The contract, "Node labels": the table of vendors, `,` to `-`, all else that is illegal to
// `_`, and what is not alphanumeric cut at both ends.
std::string Mapped(std::string compatible) {
  if (compatible.starts_with("xlnx,")) compatible.replace(0, 4, "xilinx");
  std::string name;
  for (const char c : compatible) {
    name += fuzz::IsLetterOrDigit(c) || c == '.' || c == '_' || c == '-' ? c : c == ',' ? '-' : '_';
  }
  while (!name.empty() && !fuzz::IsLetterOrDigit(name.back())) name.pop_back();
  while (!name.empty() && !fuzz::IsLetterOrDigit(name.front())) name.erase(0, 1);
  return name;
}

// RFC 1123 in lower case, at most 253 characters.
bool IsSubdomain(std::string_view text) {
  if (text.empty() || text.size() > 253) return false;
  for (bool more = true; more;) {
    const std::string_view label = text.substr(0, text.find('.'));
    more = label.size() < text.size();
    text.remove_prefix(std::min(text.size(), label.size() + 1));
    const auto is_legal = [](char c) { return fuzz::IsLetterOrDigit(c) && !(c >= 'A' && c <= 'Z'); };
    if (label.empty() || !is_legal(label.front()) || !is_legal(label.back())) return false;
    if (!std::ranges::all_of(label, [&](char c) { return c == '-' || is_legal(c); })) return false;
  }
  return true;
}

std::vector<std::string> Lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    lines.emplace_back(text.substr(0, text.find('\n')));
    text.remove_prefix(std::min(text.size(), lines.back().size() + 1));
  }
  return lines;
}

void RequireContract(const std::vector<std::string>& compatibles,
                     const exporter::LabelReport& report, const std::string& prefix) {
  std::vector<std::string> keys;
  std::map<std::string, std::string> owner;  // by name
  std::map<std::string, Rejection> rejected;
  for (const std::string& compatible : compatibles) {
    const std::string name = Mapped(compatible);
    const bool collides = name.starts_with("accelerator.") ||
                          (owner.contains(name) && owner[name] != compatible);
    if (name.empty() || name.size() > 63 || collides) {
      rejected.emplace(compatible, name.empty()       ? Rejection::kEmpty
                                   : name.size() > 63 ? Rejection::kTooLong
                                                      : Rejection::kCollision);
    } else if (owner.emplace(name, compatible).second) {
      keys.push_back(prefix + "/" + name);
    }
  }
  const auto key = [](const exporter::Label& label) { return label.key; };
  fuzz::Require(std::ranges::equal(report.labels, keys, {}, key), "the labels are the contract's",
                prefix);
  fuzz::Require(report.rejected.size() == rejected.size(), "all else is rejected, once", prefix);
  for (const exporter::RejectedLabel& found : report.rejected) {
    fuzz::Require(rejected.contains(found.compatible) && rejected[found.compatible] == found.reason,
                  "the reason is the contract's", exporter::Printable(found.compatible));
  }
}

}  // namespace

// The input is lines: a prefix, a glob, and compatibles.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::string> lines = Lines({reinterpret_cast<const char*>(data), size});
  lines.resize(std::max<std::size_t>(lines.size(), 2));
  exporter::LabelRules rules;
  fuzz::Require(exporter::IsLabelPrefix(lines[0]) == IsSubdomain(lines[0]),
                "a prefix is a DNS subdomain", exporter::Printable(lines[0]));
  if (IsSubdomain(lines[0])) rules.prefix = lines[0];
  const std::string glob = lines[1];
  std::vector<std::string> compatibles(lines.begin() + 2, lines.end());
  std::erase_if(compatibles, [](const std::string& c) { return c.empty() || c.find('\0') != c.npos; });
  std::size_t bytes = 0;
  for (const std::string& compatible : compatibles) bytes += compatible.size() + 1;
  if (bytes > dt::kMaxPropertyBytes) return 0;

  const exporter::Inventory inventory = test_support::MakeInventory({.compatible = compatibles});
  const exporter::LabelReport all = exporter::ToLabels(inventory, rules);
  RequireContract(compatibles, all, rules.prefix);
  fuzz::RequireLegalOutputs(inventory, rules);

  exporter::LabelRules chosen = rules, others = rules;
  chosen.include = others.exclude = {glob};
  const exporter::LabelSet in = exporter::ToLabels(inventory, chosen).labels;
  const exporter::LabelSet out = exporter::ToLabels(inventory, others).labels;
  for (const exporter::Label& label : all.labels) {
    fuzz::Require(std::ranges::count(in, label) + std::ranges::count(out, label) == 1,
                  "a glob chooses a label or it does not", label.key);
  }
  return 0;
}
