#include "exporter/sinks/prepared_body.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <string>
#include <thread>
#include <vector>

namespace exporter {
namespace {

// Inflates one gzip member and says how much of `bytes` it took.
std::string Gunzip(const std::string& bytes, std::size_t* taken) {
  z_stream stream{};
  EXPECT_EQ(inflateInit2(&stream, MAX_WBITS + 16), Z_OK);
  std::string out(1 << 22, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);  // checks length and CRC-32 as well
  out.resize(stream.total_out);
  *taken = stream.total_in;
  inflateEnd(&stream);
  return out;
}

// Text that compresses badly and differs from line to line.
std::string Text(std::size_t size) {
  std::string text;
  for (unsigned i = 1; text.size() < size; ++i) text += std::to_string(i * 2654435761U) + "\n";
  text.resize(size);
  return text;
}

// As it goes over the wire.
std::string Whole(const BodyParts& parts) { return std::string(parts.prepared) + parts.made; }

TEST(PreparedBody, PlainIsTheTextAndTheLivePart) {
  const PreparedBody body("a\n");
  EXPECT_EQ(Whole(body.Plain("b\n")), "a\nb\n");
  EXPECT_EQ(body.Plain("b\n").size(), 4U);
}

TEST(PreparedBody, GzipIsOneMemberThatHoldsThePlainBody) {
  for (const std::size_t fixed : {0U, 1U, 70U, 32767U, 32768U, 70000U, 1000000U}) {
    const PreparedBody body(Text(fixed));
    for (const std::size_t live : {0U, 1U, 1200U, 70000U}) {
      const std::string compressed = Whole(body.Gzip(Text(live)));
      std::size_t taken = 0;
      EXPECT_EQ(Gunzip(compressed, &taken), Whole(body.Plain(Text(live)))) << fixed << "+" << live;
      EXPECT_EQ(taken, compressed.size()) << "bytes after the member";
    }
  }
}

TEST(PreparedBody, IsTheSameForAllWhoAskAtOnce) {
  const PreparedBody body(Text(70000));
  std::vector<BodyParts> answers(8);
  {
    std::vector<std::jthread> threads;
    for (BodyParts& answer : answers) threads.emplace_back([&] { answer = body.Gzip("live"); });
  }
  std::size_t taken = 0;
  EXPECT_EQ(Gunzip(Whole(answers[0]), &taken), Whole(body.Plain("live")));
  for (const BodyParts& answer : answers) {
    EXPECT_EQ(answer.prepared.data(), answers[0].prepared.data());
    EXPECT_EQ(answer.made, answers[0].made);
  }
}

}  // namespace
}  // namespace exporter
