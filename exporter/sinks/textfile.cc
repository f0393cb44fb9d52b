#include "exporter/sinks/textfile.h"

#include "exporter/sinks/atomic_file.h"

namespace exporter {

std::string TextfilePath(const std::string& directory) {
  return directory + "/devicetree-exporter.prom";
}

bool WriteTextfile(const std::string& directory, std::string_view metrics, std::string* error) {
  return WriteAtomically(TextfilePath(directory), metrics, 0644, error);
}

}  // namespace exporter
