// What must hold of all outputs of an Inventory, whatever the hardware said. Each
// format is read here a second time, without the code that wrote it.
#ifndef TESTS_FUZZ_OUTPUTS_H_
#define TESTS_FUZZ_OUTPUTS_H_

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>

#include "exporter/inventory.h"
#include "exporter/projections/dry_run.h"
#include "exporter/projections/explain.h"
#include "exporter/projections/inventory_json.h"
#include "exporter/projections/labels.h"
#include "exporter/projections/landing_page.h"
#include "exporter/projections/metrics.h"
#include "tests/fuzz/properties.h"

namespace fuzz {

// Takes what `text` begins with and `holds` is true of.
template <typename Holds>
std::string_view TakeWhile(std::string_view* text, Holds holds) {
  const auto end = std::ranges::find_if_not(*text, holds);
  const std::string_view taken = text->substr(0, static_cast<std::size_t>(end - text->begin()));
  text->remove_prefix(taken.size());
  return taken;
}

inline bool TakePrefix(std::string_view* text, std::string_view prefix) {
  if (!text->starts_with(prefix)) return false;
  text->remove_prefix(prefix.size());
  return true;
}

inline bool IsMetricNameCharacter(char c) { return IsLetterOrDigit(c) || c == '_'; }

// One sample of the text exposition format 0.0.4, but for its end of line: a name, labels in
// braces, one space, a number. Adds its series to `seen`.
inline bool IsNewSample(std::string_view line, std::set<std::string>* seen) {
  const std::string_view whole = line;
  if (TakeWhile(&line, IsMetricNameCharacter).empty()) return false;
  if (TakePrefix(&line, "{")) {
    do {
      if (TakeWhile(&line, IsMetricNameCharacter).empty() || !TakePrefix(&line, "=\"")) return false;
      while (!TakePrefix(&line, "\"")) {
        if (TakePrefix(&line, "\\") && line.find_first_of("\\\"n") != 0) return false;
        if (line.empty()) return false;
        line.remove_prefix(1);
      }
    } while (TakePrefix(&line, ","));
    if (!TakePrefix(&line, "}")) return false;
  }
  const std::string_view series = whole.substr(0, whole.size() - line.size());
  if (!TakePrefix(&line, " ")) return false;
  double value = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
  return error == std::errc() && end == line.data() + line.size() &&
         seen->emplace(series).second;
}

inline void RequireExposition(std::string_view text) {
  Require(IsPrintableText(text) && IsUtf8(text), "the metrics are printable UTF-8", text);
  Require(text.ends_with('\n'), "the metrics end with a line", text);
  std::set<std::string> seen;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() + 1);
    const bool is_comment = line.starts_with("# HELP ") || line.starts_with("# TYPE ");
    Require(is_comment || IsNewSample(line, &seen), "a line of the metrics is a sample of its own",
            line);
  }
}

// No string of the hardware's makes an element or ends one: each tag is one that the page
// uses, and elements end that have an end.
inline void RequirePage(std::string_view page) {
  Require(IsPrintableText(page) && IsUtf8(page), "the page is printable UTF-8", page);
  static const std::set<std::string_view> without_end = {"!DOCTYPE", "meta", "link", "wbr", "li",
                                                         "tr", "th", "td", "thead", "dd"};
  static const std::set<std::string_view> with_end = {
      "html", "head", "title", "body", "header", "p", "h1", "h2", "h3", "nav", "ul", "ol", "a",
      "main", "dl", "div", "dt", "time", "section", "span", "button", "table", "tbody", "code",
      "b", "i", "q", "em", "strong", "details", "summary", "pre", "footer"};
  std::map<std::string_view, int> open;
  for (std::size_t at = page.find('<'); at != page.npos; at = page.find('<', at + 1)) {
    std::string_view rest = page.substr(at + 1);
    const bool ends = TakePrefix(&rest, "/");
    const std::string_view name =
        TakeWhile(&rest, [](char c) { return IsLetterOrDigit(c) || c == '!'; });
    if (name == "style" || name == "script") {  // what is in it is no markup
      at = page.find(std::string("</").append(name), at);
      Require(at != page.npos, "a style or script ends", name);
      continue;
    }
    Require(with_end.contains(name) || without_end.contains(name), "the page's tags are known",
            rest.substr(0, 80));
    if (with_end.contains(name)) open[name] += ends ? -1 : 1;
    Require(open[name] >= 0, "no element ends before it begins", name);
  }
  for (const auto& [name, count] : open) Require(count == 0, "every element ends", name);
}

// The metrics, for those who compare them.
inline std::string RequireLegalOutputs(const exporter::Inventory& inventory,
                                       const exporter::LabelRules& rules) {
  const exporter::LabelReport labels = exporter::ToLabels(inventory, rules);
  RequireLegalLabels(labels.labels, rules.prefix);
  Require(labels.origins.size() == labels.labels.size() &&
              labels.accelerator_keys.size() == inventory.accelerators.size(),
          "every label has its origin, every accelerator its key or none", rules.prefix);
  for (const exporter::RejectedLabel& rejected : labels.rejected) RequireOneLine(rejected.detail);
  for (const std::string& text :
       {exporter::ToExplanation(inventory, labels, "").value_or("\x01"),
        exporter::ToDryRun(inventory, labels.labels)}) {
    Require(IsPrintableText(text) && IsUtf8(text), "what is for a terminal is printable", text);
  }
  const std::string json = exporter::ToInventoryJson(inventory, labels, {});
  Require(IsPrintableText(json) && nlohmann::json::accept(json), "the JSON is JSON", json);
  RequirePage(exporter::ToLandingPage(inventory, labels, {}));
  std::string metrics = exporter::ToInventoryMetrics(inventory, labels, {});
  RequireExposition(metrics);
  return metrics;
}

}  // namespace fuzz

#endif  // TESTS_FUZZ_OUTPUTS_H_
