// Base64 as in RFC 4648, section 4. OpenSSL's decoder takes a '-' for the end of the text.
#ifndef EXPORTER_BASE64_H_
#define EXPORTER_BASE64_H_

#include <optional>
#include <string>

namespace exporter {

// The bytes that `text` stands for; line ends in it do not count. nullopt if it is not base64.
std::optional<std::string> FromBase64(std::string text);

}  // namespace exporter

#endif  // EXPORTER_BASE64_H_
