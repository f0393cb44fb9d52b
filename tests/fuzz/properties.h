// What must hold of outputs whatever the input was. Checked without the code under
// test: the rules are written down here a second time.
#ifndef TESTS_FUZZ_PROPERTIES_H_
#define TESTS_FUZZ_PROPERTIES_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <set>
#include <string>
#include <string_view>

#include "exporter/label_set.h"

namespace fuzz {

// Ends the program, which is how libFuzzer and ctest learn of a finding.
inline void Require(bool holds, std::string_view rule, std::string_view of) {
  if (holds) return;
  std::cerr << "broken: " << rule << "\n  of: " << of << "\n";
  std::abort();
}

inline bool IsLetterOrDigit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// Kubernetes' syntax of a label value, and of the name in a label key: at most 63 of
// [A-Za-z0-9._-], the first and the last a letter or a digit.
inline bool IsLabelText(std::string_view text) {
  if (text.empty() || text.size() > 63) return false;
  if (!IsLetterOrDigit(text.front()) || !IsLetterOrDigit(text.back())) return false;
  for (const char c : text) {
    if (!IsLetterOrDigit(c) && c != '.' && c != '_' && c != '-') return false;
  }
  return true;
}

inline void RequireLegalLabels(const exporter::LabelSet& labels, const std::string& prefix) {
  std::set<std::string> keys;
  for (const exporter::Label& label : labels) {
    Require(label.key.starts_with(prefix + "/"), "a key begins with the prefix", label.key);
    Require(IsLabelText(std::string_view(label.key).substr(prefix.size() + 1)),
            "Kubernetes takes the name", label.key);
    Require(IsLabelText(label.value), "Kubernetes takes the value", label.key + ": " + label.value);
    Require(keys.insert(label.key).second, "keys are unique", label.key);
  }
}

// No control character, of C0 or C1, but the ends of lines.
inline bool IsPrintableText(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte < 0x20 && byte != '\n') || byte == 0x7f) return false;
    if (byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0) {
      return false;
    }
  }
  return true;
}

// RFC 3629: the shortest form of a character that is no surrogate.
inline bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const auto lead = static_cast<unsigned char>(text[0]);
    const std::size_t size = lead < 0x80 ? 1 : lead < 0xc0 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (size == 0 || lead >= 0xf8 || text.size() < size) return false;
    std::uint32_t character = size == 1 ? lead : lead & (0xffU >> (size + 1));
    for (std::size_t i = 1; i < size; ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      if (byte >> 6 != 2) return false;
      character = character << 6 | (byte & 0x3fU);
    }
    constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    const bool is_surrogate = character >= 0xd800 && character < 0xe000;
    if (character < kLeast[size] || character > 0x10ffff || is_surrogate) return false;
    text.remove_prefix(size);
  }
  return true;
}

inline void RequireOneLine(std::string_view message) {
  Require(
      !message.empty() && IsPrintableText(message) && message.find('\n') == std::string_view::npos,
      "an error is one printable line", message);
}

inline bool BeginsWithPlace(std::string_view message, std::string_view file) {
  if (!message.starts_with(file)) return false;
  message.remove_prefix(file.size());
  for (int i = 0; i < 2; ++i) {  // ":LINE:COLUMN"
    if (!message.starts_with(':')) return false;
    message.remove_prefix(1);
    if (message.empty() || message[0] < '1' || message[0] > '9') return false;
    while (!message.empty() && message[0] >= '0' && message[0] <= '9') message.remove_prefix(1);
  }
  return message.starts_with(": ");
}

inline void RequirePlacedLine(std::string_view message, std::string_view file) {
  RequireOneLine(message);
  Require(BeginsWithPlace(message, file), "an error begins with FILE:LINE:COLUMN", message);
}

}  // namespace fuzz

#endif  // TESTS_FUZZ_PROPERTIES_H_
