// An HTTP body of which the greater part is compressed once and sent many times.
#ifndef EXPORTER_SINKS_PREPARED_BODY_H_
#define EXPORTER_SINKS_PREPARED_BODY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace exporter {

// The bytes of one answer: what was there before, then what was made for it.
struct BodyParts {
  std::string_view prepared;  // of the PreparedBody, which must live as long
  std::string made;

  std::size_t size() const { return prepared.size() + made.size(); }
};

// Immutable; safe to use from many threads.
class PreparedBody {
 public:
  explicit PreparedBody(std::string text);

  // The text, followed by `live`.
  BodyParts Plain(std::string live) const { return {text_, std::move(live)}; }

  // The same as one gzip member (RFC 1952): the prepared deflate blocks end on a
  // byte boundary, those of `live` follow, and the two checksums are combined.
  // One member and not two, since curl and Chromium read only the first.
  BodyParts Gzip(std::string_view live) const;

 private:
  std::string text_;
  std::string gzip_;   // the header, and raw deflate blocks of text_, none of them the last
  std::uint32_t crc_;  // CRC-32 of text_
};

}  // namespace exporter

#endif  // EXPORTER_SINKS_PREPARED_BODY_H_
