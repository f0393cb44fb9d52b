// A devicetree property: a name and uninterpreted bytes, and its typed readings.
//
// Types and encodings: Devicetree Specification v0.4, section 2.2.4. Both are
// views into the Tree they came from and live no longer than it.
#ifndef DT_PROPERTY_H_
#define DT_PROPERTY_H_

#include <string_view>
#include <vector>

#include "dt/result.h"

namespace dt {

struct Property {
  std::string_view name;   // "compatible"
  std::string_view bytes;  // as stored, terminating NULs included

  // <string>: bytes up to the one NUL that ends them.
  // kMalformed if the NUL is missing or stands before the end.
  Result<std::string_view> AsString() const;

  // <stringlist>: one or more NUL-terminated strings, each of at least one
  // character. kMalformed if the last one is not terminated, or one is empty.
  Result<std::vector<std::string_view>> AsStringList() const;
};

}  // namespace dt

#endif  // DT_PROPERTY_H_
