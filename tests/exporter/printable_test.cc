#include "exporter/printable.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace exporter {
namespace {

TEST(Printable, LeavesTextAsItIs) {
  for (const std::string text : {"", "NVIDIA Jetson Nano", "a\\b\"c", "Ä€😀", "\u00a0"}) {
    EXPECT_EQ(Printable(text), text);
  }
}

TEST(Printable, ShowsControlCharactersAsHex) {
  EXPECT_EQ(Printable("a\nb"), "a\\x0ab");
  EXPECT_EQ(Printable("\x1b[31m"), "\\x1b[31m");
  EXPECT_EQ(Printable(std::string("\0", 1)), "\\x00");
  EXPECT_EQ(Printable("\x7f"), "\\x7f");
  EXPECT_EQ(Printable("\u009b"), "\\xc2\\x9b");  // a C1 control begins escape sequences too
}

TEST(Printable, ShowsWhatTurnsTheDirectionOfWritingAsHex) {
  EXPECT_EQ(Printable("a\u202eb"), "a\\xe2\\x80\\xaeb");
  for (const std::string text : {"\u061c", "\u200e", "\u200f", "\u202a", "\u202b", "\u202c",
                                 "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069"}) {
    EXPECT_EQ(Printable(text).substr(0, 2), "\\x") << text;
  }
  // Their neighbours, and letters that are written from right to left.
  for (const std::string text : {"\u061b", "\u200d", "\u2010", "\u2029", "\u202f", "\u2065",
                                 "\u206a", "\u05d0\u0628", "\U00010840"}) {
    EXPECT_EQ(Printable(text), text);
  }
}

TEST(Printable, ShowsBytesThatAreNoUtf8AsHex) {
  const std::pair<const char*, const char*> cases[] = {
      {"\xff", "\\xff"},                          // no lead byte
      {"\x80", "\\x80"},                          // a continuation alone
      {"\xc3", "\\xc3"},                          // cut off
      {"\xc0\xaf", "\\xc0\\xaf"},                 // overlong '/'
      {"\xe0\x80\xaf", "\\xe0\\x80\\xaf"},        // overlong, three bytes
      {"\xed\xa0\x80", "\\xed\\xa0\\x80"},        // a surrogate
      {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},  // above U+10FFFF
      {"\xe2\x82z", "\\xe2\\x82z"},               // cut off by a letter
  };
  for (const auto& [text, shown] : cases) EXPECT_EQ(Printable(text), shown);
}

}  // namespace
}  // namespace exporter
