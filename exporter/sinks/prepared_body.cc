#include "exporter/sinks/prepared_body.h"

#include <zlib.h>

#include <new>

namespace exporter {
namespace {

// Member header of RFC 1952: magic, deflate, no flags, no time, unknown system.
constexpr std::string_view kGzipHeader("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff", 10);

const Bytef* Bytes(std::string_view text) { return reinterpret_cast<const Bytef*>(text.data()); }

std::uint32_t Crc(std::string_view text) {
  return static_cast<std::uint32_t>(crc32_z(0, Bytes(text), text.size()));
}

// Raw deflate blocks of `text`; `flush` says how they end (Z_SYNC_FLUSH: on a
// byte boundary, more may follow; Z_FINISH: with the last block).
std::string Deflate(std::string_view text, int level, int window_bits, int memory, int flush) {
  z_stream stream{};
  if (deflateInit2(&stream, level, Z_DEFLATED, -window_bits, memory, Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::bad_alloc();
  }
  // deflateBound does not count a flush: an empty stored block and stray bits.
  std::string out(deflateBound(&stream, static_cast<uLong>(text.size())) + 16, '\0');
  stream.next_in = const_cast<Bytef*>(Bytes(text));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, flush);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

void AppendLittleEndian(std::uint32_t value, std::string* out) {
  for (int shift = 0; shift < 32; shift += 8) *out += static_cast<char>(value >> shift & 0xff);
}

}  // namespace

PreparedBody::PreparedBody(std::string text, Compress when)
    : text_(std::move(text)), compressed_(std::make_unique<Compressed>()) {
  if (when == Compress::kNow) compressed();
}

const PreparedBody::Compressed& PreparedBody::compressed() const {
  std::call_once(compressed_->once, [this] {
    compressed_->gzip = kGzipHeader;
    compressed_->gzip += Deflate(text_, Z_BEST_COMPRESSION, MAX_WBITS, MAX_MEM_LEVEL, Z_SYNC_FLUSH);
    compressed_->crc = Crc(text_);
  });
  return *compressed_;
}

BodyParts PreparedBody::Gzip(std::string_view live) const {
  // Stored: packing a thousand bytes for each request costs more than sending them.
  std::string rest = Deflate(live, Z_NO_COMPRESSION, 9, 1, Z_FINISH);
  const Compressed& body = compressed();
  AppendLittleEndian(static_cast<std::uint32_t>(crc32_combine(
                         body.crc, Crc(live), static_cast<z_off_t>(live.size()))),
                     &rest);
  AppendLittleEndian(static_cast<std::uint32_t>(text_.size() + live.size()), &rest);
  return {body.gzip, std::move(rest)};
}

}  // namespace exporter
