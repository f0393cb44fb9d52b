// Any bytes give a Tree, or one line that says what is wrong. Of a Tree, with all of its
// nodes designated and its accelerators found, every label is one that Kubernetes takes,
// each once, and what people and Prometheus read is printable.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "dt/fdt_reader.h"
#include "exporter/accelerators.h"
#include "exporter/catalogue.h"
#include "exporter/printable.h"
#include "exporter/projections/explain.h"
#include "exporter/projections/labels.h"
#include "exporter/projections/metrics.h"
#include "tests/fuzz/properties.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const exporter::Catalogue catalogue = exporter::BuiltInCatalogue();
  auto tree = dt::ReadFdt(std::as_bytes(std::span(data, size)));
  if (!tree) {
    // dt's messages quote names as they stand; Collect shows them so.
    fuzz::RequireOneLine(exporter::Printable(tree.error().message));
    return 0;
  }
  exporter::Inventory inventory;
  inventory.devicetree = std::make_shared<const dt::Tree>(std::move(tree).value());
  inventory.devicetree_known = true;
  exporter::FindAccelerators(catalogue, "/sys", &inventory);
  const exporter::LabelRules rules{.nodes = {"*"},
                                   .include_disabled = true,
                                   .accelerator_state = exporter::AcceleratorState::kDescribed};
  const exporter::LabelReport labels = exporter::ToLabels(inventory, rules);
  fuzz::RequireLegalLabels(labels.labels, rules.prefix);
  for (const exporter::RejectedLabel& rejected : labels.rejected) {
    fuzz::RequireOneLine(rejected.detail);
  }
  const std::string explanation = exporter::ToExplanation(inventory, labels, "").value_or("\x01");
  fuzz::Require(fuzz::IsPrintableText(explanation), "the explanation is printable", explanation);
  const std::string metrics = exporter::ToInventoryMetrics(inventory, labels, {});
  fuzz::Require(fuzz::IsPrintableText(metrics), "the metrics are printable", metrics);
  return 0;
}
