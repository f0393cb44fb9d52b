#include "exporter/base64.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace exporter {

std::optional<std::string> FromBase64(std::string text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::erase_if(text, [](char c) { return c == '\r' || c == '\n'; });
  const std::size_t size = text.find_last_not_of('=') + 1;
  if (text.size() % 4 != 0 || text.size() - size > 2) return std::nullopt;
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;  // of the low bits of `bits` that are not in `bytes` yet
  for (const char c : text.substr(0, size)) {
    const std::size_t digit = kDigits.find(c);
    if (digit == std::string::npos) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xff);
  }
  return bytes;
}

}  // namespace exporter
