#include "exporter/projections/landing_page.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "exporter/printable.h"
#include "exporter/projections/devicetree_facts.h"
#include "exporter/projections/landing_page_files.h"

namespace exporter {
namespace {

// Puts HTML together: a literal is markup, every other string is text.
class Html {
 public:
  template <std::size_t N>
  Html& operator<<(const char (&markup)[N]) {
    return Markup({markup, N - 1});
  }
  Html& operator<<(std::string_view text) { return Text(text, false); }
  Html& operator<<(std::size_t number) { return *this << std::string_view(std::to_string(number)); }

  // Text that a narrow screen may break behind each slash and dot. Not for attributes.
  Html& Wrapping(std::string_view text) { return Text(text, true); }
  Html& Code(std::string_view text) { return (*this << "<code>").Wrapping(text) << "</code>"; }

  Html& Markup(std::string_view markup) {
    out_ += markup;
    return *this;
  }

  std::size_t size() const { return out_.size(); }
  std::string Take() && { return std::move(out_); }

 private:
  Html& Text(std::string_view text, bool wraps) {
    const bool is_long = text.size() > kMaxPageTextBytes;
    char before = ' ';
    for (const char c : Printable(is_long ? text.substr(0, kMaxPageTextBytes) : text)) {
      switch (c) {
        case '&': out_ += "&amp;"; break;
        case '<': out_ += "&lt;"; break;
        case '>': out_ += "&gt;"; break;
        case '"': out_ += "&quot;"; break;
        default: out_ += c;
      }
      if (wraps && (c == '/' || c == '.') && before != ' ') out_ += "<wbr>";
      before = c;
    }
    return is_long ? *this << "…" : *this;
  }

  std::string out_;
};

// Adds the first items, and between `begin` and `end` how many more there are.
template <typename Items, typename Add>
void AddSome(const Items& items, std::size_t limit, std::string_view begin, std::string_view end,
             Html* out, Add add) {
  const std::size_t shown = std::min(items.size(), limit);
  for (std::size_t i = 0; i < shown; ++i) add(i);
  if (shown < items.size()) {
    (out->Markup(begin) << "and " << items.size() - shown << " more").Markup(end);
  }
}

// A section whose heading is called `id`; the caller ends it.
void BeginSection(std::string_view id, std::string_view heading, std::size_t count, Html* out) {
  *out << "<section aria-labelledby=\"" << id << "\">\n<h2 id=\"" << id << "\">" << heading
       << " <span class=\"count\">" << count << "</span></h2>\n";
}

void AddPlaces(const std::vector<std::string>& places, Html* out) {
  AddSome(places, kMaxPagePlaces, "", "", out,
          [&](std::size_t i) { out->Code(places[i]).Markup(i + 1 < places.size() ? ", " : ""); });
}

// The largest heading: the model, or what there is instead of it.
std::string Title(const Inventory& inventory, const std::optional<DevicetreeFacts>& facts) {
  if (!inventory.devicetree_known) return "The devicetree could not be read";
  if (!facts) return "A machine without a devicetree";
  if (facts->model && !facts->model->empty()) return std::string(*facts->model);
  return facts->compatible.empty() ? "A board without a name" : std::string(facts->compatible[0]);
}

void AddHeader(const Inventory& inventory, const std::optional<DevicetreeFacts>& facts,
               const PageLinks& links, Html* out) {
  *out << "<header>\n<p class=\"brand\">devicetree-exporter</p>\n<h1>" << Title(inventory, facts)
       << "</h1>\n";
  if (!inventory.devicetree_known) {
    *out << "<p class=\"lead\">It is tried again. The <a href=\"#collectors\">collectors</a> say "
            "what went wrong.</p>\n";
  } else if (!facts) {
    *out << "<p class=\"lead\">That is usual for a PC or a server. What it has on PCI and USB is "
            "found all the same.</p>\n";
  }
  // Relative, so that they lead to our pages behind a proxy with a prefix too.
  *out << "<nav aria-label=\"Other pages\"><ul>\n<li><a href=\"." << links.metrics
       << "\">Metrics</a>\n<li><a href=\"." << links.inventory
       << "\">Inventory as JSON</a>\n<li><a href=\"." << links.healthy
       << "\">Health</a>\n<li><a href=\"." << links.ready
       << "\">Readiness</a>\n</ul></nav>\n</header>\n";
}

void AddBoard(const Inventory& inventory, const std::optional<DevicetreeFacts>& facts, Html* out) {
  *out << "<dl class=\"facts\">\n";
  if (facts) {
    if (!facts->compatible.empty()) *out << "<div><dt>Compatible</dt>";
    AddSome(facts->compatible, kMaxPageRows, "<dd>", "</dd>", out,
            [&](std::size_t i) { (*out << "<dd>").Code(facts->compatible[i]) << "</dd>"; });
    if (!facts->compatible.empty()) *out << "</div>\n";
    *out << "<div><dt>Nodes</dt>";
    for (std::size_t i = 0; i < facts->nodes.size(); ++i) {
      if (facts->nodes[i] == 0) continue;
      *out << "<dd>" << facts->nodes[i] << " " << dt::ToString(static_cast<dt::Status>(i))
           << "</dd>";
    }
    *out << "</div>\n<div><dt>Fingerprint</dt><dd><code>" << facts->fingerprint
         << "</code></dd></div>\n";
  }
  const std::string time = ToRfc3339(inventory.read_at);
  *out << "<div><dt>Last read</dt><dd><time datetime=\"" << time << "\">" << time.substr(0, 10)
       << " " << time.substr(11, 8) << " UTC</time></dd></div>\n</dl>\n";
}

void AddLabels(const LabelReport& report, Html* out) {
  BeginSection("labels", "Node labels", report.labels.size(), out);
  if (report.labels.empty()) {
    *out << "<p>Nothing was found that gives a label.</p>\n</section>\n";
    return;
  }
  *out << "<button type=\"button\" class=\"js\" id=\"copy-all\">Copy all</button>\n"
          "<table>\n<thead><tr><th scope=\"col\">Label<th scope=\"col\">From<th scope=\"col\" "
          "class=\"js\"><span class=\"hidden\">Copy</span></thead>\n<tbody>\n";
  AddSome(report.labels, kMaxPageRows, "<tr><td colspan=\"3\">", "\n", out, [&](std::size_t i) {
    const Label& label = report.labels[i];
    const LabelOrigin& origin = report.origins[i];
    const std::size_t name = label.key.find('/') + 1;
    *out << "<tr><th scope=\"row\"><code class=\"label\">";
    (out->Wrapping(label.key.substr(0, name)) << "<b>").Wrapping(label.key.substr(name));
    *out << "</b>=" << label.value << "</code></th><td>";
    if (!origin.compatible.empty()) out->Code(origin.compatible) << " of ";
    AddPlaces(origin.places, out);
    *out << "</td><td class=\"js\"><button type=\"button\" aria-label=\"Copy " << label.key
         << " as a nodeSelector\">Copy</button></td></tr>\n";
  });
  *out << "</tbody>\n</table>\n<details><summary>As a <code>nodeSelector</code></summary>\n"
          "<pre id=\"selector\" tabindex=\"0\">nodeSelector:\n";
  AddSome(report.labels, kMaxPageRows, "  # ", "\n", out, [&](std::size_t i) {
    *out << "  " << report.labels[i].key << ": \"" << report.labels[i].value << "\"\n";
  });
  *out << "</pre>\n</details>\n<p role=\"status\"></p>\n</section>\n";
}

// One step of the ladder. Each says in words whether it is reached.
void AddRung(bool reached, std::string_view name, std::string_view reason, Html* out) {
  if (reached) {
    *out << "<li class=\"on\"><i></i><b>" << name << "</b>";
  } else {
    *out << "<li><i></i><b>not " << name << "</b>";
  }
  (*out << " <span>").Wrapping(reason) << "</span></li>\n";
}

void AddAccelerator(const Accelerator& accelerator, const std::string& key, Html* out) {
  std::string name = accelerator.vendor.value_or("");
  if (accelerator.model) name += (name.empty() ? "" : " ") + *accelerator.model;
  *out << "<li>\n<p class=\"kind\">" << accelerator.kind << "</p>\n<h3>"
       << (name.empty() ? accelerator.compatible : name) << "</h3>\n<p class=\"place\">"
       << ToString(accelerator.bus) << " ";
  out->Code(accelerator.address) << "</p>\n<ol class=\"ladder\">\n";
  const std::string place = std::string(ToString(accelerator.bus)) + " " + accelerator.address;
  AddRung(true, "described", accelerator.source == place ? "" : accelerator.source, out);
  AddRung(accelerator.enabled, "enabled", accelerator.enabled_reason, out);
  AddRung(accelerator.bound, "bound", accelerator.bound_reason, out);
  AddRung(accelerator.ready, "ready", accelerator.ready_reason, out);
  *out << "</ol>\n<dl>\n";
  const auto add = [&](std::string_view term, std::string_view value) {
    if (!value.empty()) (*out << "<dt>" << term << "</dt><dd>").Code(value) << "</dd>\n";
  };
  add("Compatible", accelerator.compatible);
  add("Driver", accelerator.driver.value_or(""));
  add("NUMA node", accelerator.numa_node ? std::to_string(*accelerator.numa_node) : "");
  add("Label", key);
  *out << "</dl>\n</li>\n";
}

void AddAccelerators(const Inventory& inventory, const LabelReport& report, Html* out) {
  BeginSection("accelerators", "Accelerators", inventory.accelerators.size(), out);
  if (inventory.accelerators.empty()) {
    *out << "<p>None was found.</p>\n";
  } else {
    *out << "<ul class=\"cards\">\n";
    AddSome(inventory.accelerators, kMaxPageRows, "<li>", "</li>\n", out, [&](std::size_t i) {
      AddAccelerator(inventory.accelerators[i], report.accelerator_keys[i], out);
    });
    *out << "</ul>\n";
  }
  *out << "</section>\n";
}

void AddRejected(const std::vector<RejectedLabel>& rejected, Html* out) {
  if (rejected.empty()) return;
  BeginSection("rejected", "Strings that gave no label", rejected.size(), out);
  *out << "<table>\n<thead><tr><th scope=\"col\">Compatible<th scope=\"col\">Of<th "
          "scope=\"col\">Why</thead>\n"
          "<tbody>\n";
  AddSome(rejected, kMaxPageRows, "<tr><td colspan=\"3\">", "\n", out, [&](std::size_t i) {
    const RejectedLabel& entry = rejected[i];
    *out << "<tr><th scope=\"row\">";
    if (entry.compatible.empty()) {
      *out << "no list of strings";
    } else {
      out->Code(entry.compatible);
    }
    *out << "</th><td>";
    out->Code(entry.path) << "</td><td>" << ToString(entry.reason) << ": ";
    out->Wrapping(entry.detail) << "</td></tr>\n";
  });
  *out << "</tbody>\n</table>\n</section>\n";
}

void AddUnrecognised(const std::vector<UnrecognisedNode>& nodes, Html* out) {
  if (nodes.empty()) return;
  BeginSection("unrecognised", "Called like an accelerator, and in no list", nodes.size(), out);
  *out << "<p>Please report them, so that the next version knows them.</p>\n"
          "<table>\n<thead><tr><th scope=\"col\">Compatible<th scope=\"col\">Of</thead>\n<tbody>\n";
  AddSome(nodes, kMaxPageRows, "<tr><td colspan=\"2\">", "\n", out, [&](std::size_t i) {
    (*out << "<tr><th scope=\"row\">").Code(nodes[i].compatible) << "</th><td>";
    out->Code(nodes[i].path) << "</td></tr>\n";
  });
  *out << "</tbody>\n</table>\n</section>\n";
}

void AddCollectors(const std::vector<CollectorReport>& collectors, Html* out) {
  BeginSection("collectors", "Collectors", collectors.size(), out);
  *out << "<table class=\"narrow\">\n<thead><tr><th scope=\"col\">Collector<th scope=\"col\">Result"
          "<th scope=\"col\">Skipped<th scope=\"col\">Time</thead>\n<tbody>\n";
  for (const CollectorReport& report : collectors) {
    std::array<char, 32> time{};
    std::snprintf(time.data(), time.size(), "%.3f ms", report.duration.count() * 1e3);
    *out << "<tr><th scope=\"row\"><code>" << report.name << "</code></th><td>";
    if (report.success) {
      *out << "good";
    } else {
      *out << "<strong>failed</strong>";
    }
    *out << "</td><td>" << report.skipped_devices << "</td><td>" << std::string_view(time.data())
         << "</td></tr>\n";
    if (report.problems.empty()) continue;
    *out << "<tr><td colspan=\"4\"><ul class=\"problems\">\n";
    AddSome(report.problems, kMaxPageRows, "<li>", "\n", out,
            [&](std::size_t i) { (*out << "<li>").Wrapping(report.problems[i]) << "\n"; });
    *out << "</ul></td></tr>\n";
  }
  *out << "</tbody>\n</table>\n</section>\n";
}

// What the tree shows of a node: no other property, as it may be a serial number.
void AddNode(const dt::Tree& tree, const dt::Node& node, Html* out) {
  *out << "<b>" << (&node == &tree.root() ? "/" : node.name) << "</b>";
  if (const auto list = tree.Compatible(node)) {
    for (const std::string_view compatible : *list) *out << " <i>" << compatible << "</i>";
  } else {
    *out << " <em>compatible is malformed</em>";
  }
  if (const auto model = tree.FindProperty(node, "model")) {
    if (const auto text = model->AsString()) *out << " <q>" << *text << "</q>";
  }
  if (!node.enabled()) *out << " <em>" << dt::ToString(node.effective_status) << "</em>";
}

void AddTree(const dt::Tree& tree, Html* out) {
  const std::span<const dt::Node> nodes = tree.nodes();
  BeginSection("devicetree", "Devicetree", nodes.size(), out);
  *out << "<button type=\"button\" class=\"js\" id=\"unfold\">Unfold all</button>\n"
          "<ul class=\"tree\">\n";
  const std::size_t limit = out->size() + kMaxPageTreeBytes;
  std::vector<std::uint32_t> ends;  // of the subtrees that are open
  std::uint32_t i = 0;
  for (; i < nodes.size() && out->size() < limit; ++i) {
    for (; !ends.empty() && ends.back() == i; ends.pop_back()) *out << "</ul></details>\n";
    if (nodes[i].subtree_end == i + 1) {
      *out << "<li>";
      AddNode(tree, nodes[i], out);
    } else {
      *out << "<li><details";
      if (i == 0) *out << " open";
      *out << "><summary>";
      AddNode(tree, nodes[i], out);
      *out << "</summary><ul>\n";
      ends.push_back(nodes[i].subtree_end);
    }
  }
  for (; !ends.empty(); ends.pop_back()) *out << "</ul></details>";
  *out << "</ul>\n";
  if (i < nodes.size()) *out << "<p>" << nodes.size() - i << " more nodes are left out.</p>\n";
  *out << "</section>\n";
}

}  // namespace

std::string ToLandingPage(const Inventory& inventory, const LabelReport& labels,
                          const BuildInfo& build, const PageLinks& links) {
  const std::optional<DevicetreeFacts> facts = ToDevicetreeFacts(inventory);
  Html out;
  out << "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>"
      << Title(inventory, facts)
      << " · devicetree-exporter</title>\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
         "<meta name=\"color-scheme\" content=\"light dark\">\n"
         "<link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' "
         "viewBox='0 0 16 16'%3E%3Cpath d='M3 1v11h5M3 6h5' fill='none' stroke='%23188087' "
         "stroke-width='2'/%3E%3Cpath d='M8 4h6v4H8zM8 10h6v4H8z' "
         "fill='%23188087'/%3E%3C/svg%3E\">\n"
         "<style>";
  out.Markup(LandingPageStyle()) << "</style>\n</head>\n<body>\n";
  AddHeader(inventory, facts, links, &out);
  out << "<main>\n";
  AddBoard(inventory, facts, &out);
  AddLabels(labels, &out);
  AddAccelerators(inventory, labels, &out);
  AddRejected(labels.rejected, &out);
  AddUnrecognised(inventory.unrecognised, &out);
  AddCollectors(inventory.collectors, &out);
  if (facts) AddTree(*inventory.devicetree, &out);
  out << "</main>\n<footer>devicetree-exporter " << build.version << ", revision " << build.revision
      << ", " << build.compiler << "</footer>\n<script>";
  out.Markup(LandingPageScript()) << "</script>\n</body>\n</html>\n";
  return std::move(out).Take();
}

}  // namespace exporter
