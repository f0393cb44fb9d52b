// An HTTP body of which the greater part is compressed once and sent many times.
#ifndef EXPORTER_SINKS_PREPARED_BODY_H_
#define EXPORTER_SINKS_PREPARED_BODY_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace exporter {

// Immutable; safe to use from many threads.
class PreparedBody {
 public:
  explicit PreparedBody(std::string text);

  // The text, followed by `live`.
  std::string Plain(std::string_view live) const { return text_ + std::string(live); }

  // The same as one gzip member (RFC 1952): the prepared deflate blocks end on a
  // byte boundary, those of `live` follow, and the two checksums are combined.
  // One member and not two, since curl and Chromium read only the first.
  std::string Gzip(std::string_view live) const;

 private:
  std::string text_;
  std::string deflated_;  // raw deflate blocks of text_, none of them the last
  std::uint32_t crc_;     // CRC-32 of text_
};

}  // namespace exporter

#endif  // EXPORTER_SINKS_PREPARED_BODY_H_
