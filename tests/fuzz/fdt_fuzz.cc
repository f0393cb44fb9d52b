// Any bytes give a Tree, or one line that says what is wrong. Of a Tree, with all of its
// nodes designated and its accelerators found, every label is one that Kubernetes takes,
// each once; the metrics are an exposition, the JSON is JSON, no string is markup of the
// page, and what people read is printable.
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
#include "tests/fuzz/outputs.h"

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
  fuzz::RequireLegalOutputs(inventory,
                            {.nodes = {"*"},
                             .include_disabled = true,
                             .accelerator_state = exporter::AcceleratorState::kDescribed});
  return 0;
}
