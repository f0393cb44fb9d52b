#include "dt/property.h"

#include <string_view>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace dt {
namespace {

using namespace std::string_view_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Property Compatible(std::string_view bytes) { return {"compatible", bytes}; }

TEST(PropertyTest, AStringEndsWithItsOneNul) {
  EXPECT_EQ(Compatible("okay\0"sv).AsString().value(), "okay");
  EXPECT_EQ(Compatible("\0"sv).AsString().value(), "");
  EXPECT_EQ(Compatible(" \n\xff\0"sv).AsString().value(), " \n\xff");
}

TEST(PropertyTest, WhatIsNoStringIsMalformed) {
  for (const std::string_view bytes : {""sv, "okay"sv, "okay\n"sv, "a\0b"sv, "a\0b\0"sv, "a\0\0"sv,
                                       "\0a"sv, "\0\0"sv}) {
    const Result<std::string_view> string = Compatible(bytes).AsString();
    ASSERT_FALSE(string.has_value());
    EXPECT_EQ(string.error().code, ErrorCode::kMalformed);
    EXPECT_THAT(string.error().message, HasSubstr("compatible"));
  }
}

TEST(PropertyTest, AStringListHasItsStringsInOrder) {
  EXPECT_THAT(Compatible("a\0"sv).AsStringList().value(), ElementsAre("a"));
  EXPECT_THAT(Compatible("b,2\0a,1\0b,2\0"sv).AsStringList().value(),
              ElementsAre("b,2", "a,1", "b,2"));
  EXPECT_THAT(Compatible("amlogic, galcore\0"sv).AsStringList().value(),
              ElementsAre("amlogic, galcore"));
}

TEST(PropertyTest, WhatIsNoStringListIsMalformed) {
  for (const std::string_view bytes :
       {""sv, "\0"sv, "a"sv, "a\0b"sv, "a\0\0"sv, "\0a\0"sv, "a\0\0b\0"sv, "\0\0\0\1"sv}) {
    const auto list = Compatible(bytes).AsStringList();
    ASSERT_FALSE(list.has_value());
    EXPECT_EQ(list.error().code, ErrorCode::kMalformed);
    EXPECT_THAT(list.error().message, HasSubstr("compatible"));
  }
}

TEST(PropertyTest, TheStringsAreViewsOfTheBytes) {
  const std::string_view bytes = "one\0two\0"sv;
  const auto list = Compatible(bytes).AsStringList().value();
  EXPECT_EQ(list[0].data(), bytes.data());
  EXPECT_EQ(list[1].data(), bytes.data() + 4);
}

}  // namespace
}  // namespace dt
