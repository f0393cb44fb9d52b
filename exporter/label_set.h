// Node labels as plain values: all that a sink that writes labels has to know.
#ifndef EXPORTER_LABEL_SET_H_
#define EXPORTER_LABEL_SET_H_

#include <string>
#include <vector>

namespace exporter {

struct Label {
  std::string key;    // "beta.devicetree.org/nvidia-gm20b"
  std::string value;  // "1"

  friend bool operator==(const Label&, const Label&) = default;
};

// In the order of the contract; keys are unique, and the Kubernetes API accepts every entry.
using LabelSet = std::vector<Label>;

}  // namespace exporter

#endif  // EXPORTER_LABEL_SET_H_
