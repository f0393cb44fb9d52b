// An HTTP body of which the greater part is compressed once and sent many times.
#ifndef EXPORTER_SINKS_PREPARED_BODY_H_
#define EXPORTER_SINKS_PREPARED_BODY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
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

// Immutable to its users; safe to use from many threads.
class PreparedBody {
 public:
  enum class Compress { kNow, kWhenAsked };

  explicit PreparedBody(std::string text, Compress when = Compress::kWhenAsked);

  // The text, followed by `live`.
  BodyParts Plain(std::string live) const { return {text_, std::move(live)}; }

  // The same as one gzip member (RFC 1952): the prepared deflate blocks end on a
  // byte boundary, those of `live` follow, and the two checksums are combined.
  // One member and not two, since curl and Chromium read only the first.
  BodyParts Gzip(std::string_view live) const;

 private:
  struct Compressed {
    std::once_flag once;
    std::string gzip;       // the header, and raw deflate blocks of text_, none of them the last
    std::uint32_t crc = 0;  // CRC-32 of text_
  };
  const Compressed& compressed() const;

  std::string text_;
  std::unique_ptr<Compressed> compressed_;
};

}  // namespace exporter

#endif  // EXPORTER_SINKS_PREPARED_BODY_H_
