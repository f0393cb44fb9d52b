// The YAML configuration file: every flag can stand in it, under its name split at
// the dots.
//
//   labels:
//     prefix: example.org      # --labels.prefix=example.org
//     nodes: [gpu, npu]        # --labels.nodes gpu npu
//     kubernetes: true         # --labels.kubernetes
//
// Only the shape is known here; which flags there are, and what they take, is
// options.cc's business.
#ifndef EXPORTER_CONFIG_H_
#define EXPORTER_CONFIG_H_

#include <string>
#include <string_view>
#include <vector>

#include "dt/result.h"

namespace exporter {

struct ConfigEntry {
  std::string flag;                 // "labels.prefix"
  std::vector<std::string> values;  // one of a scalar, each of a list
  std::vector<std::string> value_places;  // of each of them
  bool is_list = false;
  bool is_group = false;    // an empty mapping: "labels" alone
  std::string key_place;  // "config.yaml:2:3"
  std::string place;      // of the value
};

// What `text` sets, in its order, each flag once. Errors are kMalformed:
// "FILE:LINE:COLUMN: what stands there; what was expected".
dt::Result<std::vector<ConfigEntry>> ParseConfig(std::string_view text, const std::string& file);

// The one of `known` that `word` is most likely meant to be; empty if none is near.
std::string NearestWord(std::string_view word, const std::vector<std::string>& known);

}  // namespace exporter

#endif  // EXPORTER_CONFIG_H_
