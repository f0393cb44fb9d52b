// A YAML file as a plain tree, with the place of everything in it. The only door
// to yaml-cpp.
//
// A strict subset: one document, UTF-8, no aliases, anchors or tags, no repeated
// keys, and bounds on size and depth. yaml-cpp alone takes a cycle of aliases and
// then overflows the stack, unfolds alias bombs, and passes the rest in silence.
#ifndef EXPORTER_YAML_DOCUMENT_H_
#define EXPORTER_YAML_DOCUMENT_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "dt/result.h"

namespace exporter {

inline constexpr std::size_t kMaxYamlBytes = 1 << 20;
inline constexpr std::size_t kMaxYamlDepth = 32;
inline constexpr std::size_t kMaxYamlValues = 20'000;

struct YamlEntry;

struct YamlValue {
  enum class Kind { kNull, kScalar, kSequence, kMapping };
  Kind kind = Kind::kNull;
  std::string scalar;              // of a kScalar
  std::vector<YamlValue> items;    // of a kSequence
  std::vector<YamlEntry> entries;  // of a kMapping, in the order of the file
  int line = 1;                    // counted from 1
  int column = 1;
};

struct YamlEntry {
  YamlValue key;  // a kScalar
  YamlValue value;
};

// The document in `text`; a kNull if it is empty. Errors are kMalformed and say
// "FILE:LINE:COLUMN: what stands there; what was expected".
dt::Result<YamlValue> ParseYaml(std::string_view text, const std::string& file);

// The bytes of `file`, for ParseYaml. The error, kIo, names it; also of one larger than
// kMaxYamlBytes.
dt::Result<std::string> ReadYamlFile(const std::string& file);

}  // namespace exporter

#endif  // EXPORTER_YAML_DOCUMENT_H_
