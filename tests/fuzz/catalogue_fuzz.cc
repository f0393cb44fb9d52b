// Any bytes give a Catalogue, or one line that says where they are none. A Catalogue can
// be laid over the built-in one and used on a machine, and what comes of that is legal:
// labels that Kubernetes takes, each once.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "exporter/accelerators.h"
#include "exporter/catalogue.h"
#include "tests/fuzz/outputs.h"
#include "tests/test_support/tree.h"

namespace {

// A little of each bus, with the ids that the corpus and the dictionary use.
exporter::Inventory Machine() {
  exporter::Inventory inventory = test_support::MakeInventory(
      {.compatible = {"acme,board"},
       .children = {{.name = "npu@0", .compatible = {"acme,npu"}},
                    {.name = "npu1@1", .compatible = {"acme,npu", "vivante,gc"}},
                    {.name = "gpu@2", .compatible = {"acme,gpu"}, .status = "disabled"}}});
  inventory.devicetree_is_live = true;
  inventory.devicetree_devices = {{"/npu@0", "devices/platform/0.npu", "acme-npu"}};
  inventory.pci = {{.address = "0000:01:00.0",
                    .device = "devices/pci0000:00/0000:01:00.0",
                    .class_code = 0x120000,
                    .vendor_id = 0x1ac1,
                    .device_id = 0x89a,
                    .subsystem_vendor_id = 0x1ac1,
                    .subsystem_device_id = 0x4e,
                    .revision = 0x10,
                    .driver = "apex",
                    .numa_node = 0},
                   {.address = "0000:02:00.0",
                    .device = "devices/pci0000:00/0000:02:00.0",
                    .class_code = 0x030000,
                    .vendor_id = 0x10de,
                    .device_id = 0x1}};
  inventory.usb = {{.address = "1-1",
                    .device = "devices/usb1/1-1",
                    .vendor_id = 0x1a6e,
                    .product_id = 0x89a,
                    .driver = "acme usb"}};
  inventory.class_devices = {{.class_name = "apex",
                              .name = "apex_0",
                              .device = "devices/pci0000:00/0000:01:00.0/apex/apex_0",
                              .parents = {{"apex", {}}, {"0000:01:00.0", "apex"}}}};
  return inventory;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static const exporter::Catalogue built_in = exporter::BuiltInCatalogue();
  const auto parsed = exporter::ParseCatalogue(text, "f.yaml");
  if (!parsed) {
    fuzz::RequirePlacedLine(parsed.error().message, "f.yaml");
    return 0;
  }
  exporter::Inventory inventory = Machine();
  exporter::FindAccelerators(exporter::Extend(built_in, *parsed), "/sys", &inventory);
  fuzz::RequireLegalOutputs(inventory,
                            {.nodes = {"npu"},
                             .accelerator_state = exporter::AcceleratorState::kDescribed});
  return 0;
}
