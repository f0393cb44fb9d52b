// How fast a whole collection is, against a bare walk that reads the same files.
//
//   collect_bench SYSFS
//
// SYSFS is a generated one (make_pci_host.py) or this machine's /sys. The last
// line gives the ratio.
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "exporter/catalogue.h"
#include "exporter/collect.h"
#include "tests/bench/side_by_side.h"

namespace {

constexpr std::size_t kPairs = 101;

std::vector<std::string> Names(const std::string& path) {
  std::vector<std::string> names;
  DIR* directory = opendir(path.c_str());
  if (directory == nullptr) return names;
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  closedir(directory);
  return names;
}

// Reads a file or a link of an open directory; what it holds plays no part.
void ReadFile(int directory, const char* name) {
  char bytes[4096];
  const int file = openat(directory, name, O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  while (read(file, bytes, sizeof bytes) > 0) {
  }
  close(file);
}
void ReadLink(int directory, const std::string& name) {
  char bytes[4096];
  if (readlinkat(directory, name.c_str(), bytes, sizeof bytes) < 0) return;
}

// The files that the collectors read, in plain C.
bool WalkBare(const std::string& sysfs, const std::vector<std::string>& classes) {
  const std::string pci = sysfs + "/bus/pci/devices";
  const int bus = open(pci.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (bus < 0) return false;
  for (const std::string& name : Names(pci)) {
    const int device = openat(bus, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ReadLink(bus, name);
    for (const char* file : {"class", "vendor", "device", "subsystem_vendor", "subsystem_device",
                             "revision", "numa_node"}) {
      ReadFile(device, file);
    }
    ReadLink(device, "driver");
    ReadLink(device, "physfn");
    close(device);
  }
  close(bus);
  const std::string usb = sysfs + "/bus/usb/devices";
  for (const std::string& name : Names(usb)) {
    const int device = open((usb + "/" + name).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (const char* file : {"idVendor", "idProduct"}) ReadFile(device, file);
    ReadLink(device, "driver");
    close(device);
  }
  for (const std::string& class_name : classes) {
    const std::string place = sysfs + "/class/" + class_name;
    for (const std::string& name : Names(place)) {
      char target[4096];
      const ssize_t size = readlink((place + "/" + name).c_str(), target, sizeof target);
      std::string above(target, size > 0 ? static_cast<std::size_t>(size) : 0);
      while (above.starts_with("../")) above.erase(0, 3);
      for (std::size_t slash = above.rfind('/'); slash != std::string::npos && slash > 7;
           slash = above.rfind('/')) {
        above.resize(slash);
        ReadLink(AT_FDCWD, sysfs + "/" + above + "/driver");
      }
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: collect_bench SYSFS\n");
    return 2;
  }
  exporter::HostPaths paths;
  paths.sysfs = paths.procfs = argv[1];
  const exporter::Catalogue catalogue = exporter::BuiltInCatalogue();
  const std::vector<std::string> classes = exporter::InterfaceClasses(catalogue);
  std::size_t functions = 0;
  std::size_t accelerators = 0;
  const auto ours = [&] {
    const exporter::Inventory inventory = exporter::Collect(paths, catalogue, {}, nullptr);
    functions = inventory.pci.size();
    accelerators = inventory.accelerators.size();
    return true;
  };
  const auto bare = [&] { return WalkBare(argv[1], classes); };
  if (!bare()) {
    std::fprintf(stderr, "collect_bench: %s: no PCI bus\n", argv[1]);
    return 1;
  }
  const double ratio = bench::Ratio(ours, bare, kPairs);
  std::printf("%zu PCI functions, %zu accelerators and displays: %.2f ms\n", functions,
              accelerators, bench::CpuSeconds(ours) * 1e3);
  std::printf("ratio collection/bare_walk %.2f (goal <= 1.5)\n", ratio);
  return 0;
}
