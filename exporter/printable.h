// Text from hardware, made safe to show. Firmware and USB devices may put any
// bytes into a name; terminals, logs and the exposition format take not all.
#ifndef EXPORTER_PRINTABLE_H_
#define EXPORTER_PRINTABLE_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace exporter {

// `text` as valid UTF-8 without control characters: every byte that is not part of
// well-formed UTF-8 (RFC 3629), every byte of a C0 or C1 control or DEL, and every byte
// of a character that turns the direction of writing (Unicode's Bidi_Control: it would
// move what stands beside it) becomes the four characters \xNN.
std::string Printable(std::string_view text);

// The first byte of `text` that is not part of well-formed UTF-8; npos if there is none.
std::size_t FindInvalidUtf8(std::string_view text);

}  // namespace exporter

#endif  // EXPORTER_PRINTABLE_H_
