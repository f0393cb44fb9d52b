#include "dt/property.h"

#include <string>

namespace dt {
namespace {

Error Malformed(const Property& property, const char* what) {
  return Error{ErrorCode::kMalformed, std::string(property.name) + ": " + what};
}

}  // namespace

Result<std::string_view> Property::AsString() const {
  const std::size_t end = bytes.find('\0');
  if (end == std::string_view::npos) return Malformed(*this, "no terminating NUL");
  if (end + 1 != bytes.size()) return Malformed(*this, "a NUL before the end; expected one string");
  return bytes.substr(0, end);
}

Result<std::vector<std::string_view>> Property::AsStringList() const {
  if (bytes.empty()) return Malformed(*this, "empty; expected strings");
  if (bytes.back() != '\0') return Malformed(*this, "no terminating NUL");
  std::vector<std::string_view> strings;
  for (std::size_t begin = 0; begin < bytes.size();) {
    const std::size_t end = bytes.find('\0', begin);
    if (end == begin) return Malformed(*this, "an empty string in the list");
    strings.push_back(bytes.substr(begin, end - begin));
    begin = end + 1;
  }
  return strings;
}

}  // namespace dt
