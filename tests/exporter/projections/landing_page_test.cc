#include "exporter/projections/landing_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <array>
#include <chrono>
#include <memory>
#include <regex>
#include <string>
#include <string_view>
#include <utility>

#include "dt/fdt_reader.h"
#include "tests/test_support/boards.h"
#include "tests/test_support/tree.h"

namespace exporter {
namespace {

using test_support::MakeInventory;
using test_support::NodeSpec;
using ::testing::HasSubstr;
using ::testing::Not;

const BuildInfo kBuild{"1.2.3", "abc", "gcc 12"};

std::string PageOf(const Inventory& inventory, const LabelRules& rules = {}) {
  return ToLandingPage(inventory, ToLabels(inventory, rules), kBuild);
}

std::string PageOf(const NodeSpec& root) { return PageOf(MakeInventory(root)); }

// What stands between the first `begin` and the `end` after it.
std::string Between(const std::string& text, const std::string& begin, const std::string& end) {
  const std::size_t from = text.find(begin);
  if (from == std::string::npos) return "";
  return text.substr(from + begin.size(), text.find(end, from) - from - begin.size());
}

std::size_t Count(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

TEST(LandingPage, ShowsAnyTextAsText) {
  const std::pair<std::string, std::string> kCases[] = {
      {"Jetson Nano", "Jetson Nano"},
      {"<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"},
      {"a \"quoted\" 'name' & more", "a &quot;quoted&quot; 'name' &amp; more"},
      {"&lt;", "&amp;lt;"},
      {"</title></h1><!--", "&lt;/title&gt;&lt;/h1&gt;&lt;!--"},
      {"line\nbreak\x01\x7f", "line\\x0abreak\\x01\\x7f"},
      {"no utf-8: \xff\xc0\xaf", "no utf-8: \\xff\\xc0\\xaf"},
      {"\u202e right to left \u00e9", "\\xe2\\x80\\xae right to left \u00e9"},
      {std::string(500, 'x'), std::string(400, 'x') + "…"},
  };
  for (const auto& [text, html] : kCases) {
    const std::string page = PageOf({.compatible = {"a,b"}, .model = text});
    EXPECT_EQ(Between(page, "<h1>", "</h1>"), html);
    EXPECT_EQ(Between(page, "<title>", "</title>"), html + " · devicetree-exporter");
  }
}

TEST(LandingPage, EscapesEveryStringThatItIsGiven) {
  const std::string evil = "<x>&\"\x01\xff";
  Inventory inventory = MakeInventory({.compatible = {evil},
                                       .model = evil,
                                       .children = {{.name = evil,
                                                     .compatible = {evil},
                                                     .status = evil,
                                                     .model = evil,
                                                     .children = {{.name = evil}}}}});
  Accelerator accelerator;
  for (std::string* text :
       {&accelerator.kind, &accelerator.address, &accelerator.compatible, &accelerator.source,
        &accelerator.enabled_reason, &accelerator.bound_reason, &accelerator.ready_reason}) {
    *text = evil;
  }
  accelerator.vendor = accelerator.model = accelerator.driver = evil;
  inventory.accelerators = {accelerator};
  inventory.unrecognised = {{evil, evil}};
  inventory.collectors = {{evil, false, {}, 1, {evil}}};
  LabelReport labels;
  labels.labels = {{evil, evil}};
  labels.origins = {{evil, {evil}}};
  labels.rejected = {{evil, evil, Rejection::kTooLong, evil}};
  labels.accelerator_keys = {evil};
  const std::string page =
      ToLandingPage(inventory, labels, {evil, evil, evil}, {evil, evil, evil, evil});
  EXPECT_THAT(page, Not(HasSubstr("<x>")));
  EXPECT_THAT(page, Not(HasSubstr("\x01")));
  EXPECT_THAT(page, Not(HasSubstr("\xff")));
  EXPECT_EQ(Count(page, "&lt;x&gt;&amp;&quot;\\x01\\xff"), 41U);
}

TEST(LandingPage, SaysCalmlyThatThereIsNoDevicetree) {
  Inventory none;
  none.devicetree_known = true;
  for (const Inventory& inventory : {none, MakeInventory({})}) {
    const std::string page = PageOf(inventory);
    EXPECT_THAT(page, HasSubstr("<h1>A machine without a devicetree</h1>"));
    EXPECT_THAT(page, Not(HasSubstr("id=\"devicetree\"")));
    EXPECT_THAT(page, Not(HasSubstr("Fingerprint")));
  }
}

TEST(LandingPage, SaysWhereToLookIfTheDevicetreeCouldNotBeRead) {
  EXPECT_THAT(PageOf(Inventory{}), HasSubstr("<h1>The devicetree could not be read</h1>"));
}

TEST(LandingPage, IsCalledAfterTheCompatibleWhereThereIsNoModel) {
  EXPECT_THAT(PageOf({.compatible = {"a,b", "a,c"}}), HasSubstr("<h1>a,b</h1>"));
}

TEST(LandingPage, ShowsALabelWhereItComesFromAndHowToAskForIt) {
  const std::string page = PageOf({.compatible = {"nvidia,tegra210"}});
  EXPECT_THAT(page, HasSubstr("beta.<wbr>devicetree.<wbr>org/<wbr><b>nvidia-tegra210</b>=1</code>"
                              "</th><td><code>nvidia,tegra210</code> of <code>/</code></td>"));
  EXPECT_THAT(page, HasSubstr("<pre id=\"selector\" tabindex=\"0\">nodeSelector:\n"
                              "  beta.devicetree.org/nvidia-tegra210: \"1\"\n</pre>"));
}

TEST(LandingPage, CallsAnAcceleratorByWhatIsKnownOfIt) {
  Accelerator accelerator;
  accelerator.compatible = "a,c";
  const auto heading = [&] {
    Inventory inventory;
    inventory.accelerators = {accelerator};
    return Between(PageOf(inventory), "<h3>", "</h3>");
  };
  EXPECT_EQ(heading(), "a,c");
  accelerator.model = "m1";
  EXPECT_EQ(heading(), "m1");
  accelerator.vendor = "acme";
  EXPECT_EQ(heading(), "acme m1");
}

TEST(LandingPage, FoldsTheTreeBelowItsFirstLevel) {
  const std::string page =
      PageOf({.compatible = {"a,b"},
              .children = {{.name = "bus@0",
                            .compatible = {"c,d", "simple-bus"},
                            .status = "disabled",
                            .children = {{.name = "gpu@1"}}},
                           {.name = "cpu", .raw_compatible = "not terminated"}}});
  EXPECT_EQ(Between(page, "<ul class=\"tree\">\n", "</section>"),
            "<li><details open><summary><b>/</b> <i>a,b</i></summary><ul>\n"
            "<li><details><summary><b>bus@0</b> <i>c,d</i> <i>simple-bus</i> <em>disabled</em>"
            "</summary><ul>\n"
            "<li><b>gpu@1</b> <em>disabled</em></ul></details>\n"
            "<li><b>cpu</b> <em>compatible is malformed</em></ul></details></ul>\n");
}

TEST(LandingPage, ShowsNoOtherPropertyOfANode) {
  EXPECT_THAT(
      PageOf({.compatible = {"a,b"},
              .children = {{.name = "n", .properties = {{"label", std::string("s3cr3t\0", 7)}}}}}),
      Not(HasSubstr("s3cr3t")));
}

TEST(LandingPage, SaysWhatItLeavesOut) {
  NodeSpec root{.compatible = {}};
  for (int i = 0; i < 1'000; ++i) root.compatible.push_back("a," + std::to_string(i));
  for (int i = 0; i < 8'000; ++i) {
    root.children.push_back({.name = std::string(50, 'n') + "@" + std::to_string(i)});
  }
  const std::string page = PageOf(root);
  EXPECT_LT(page.size(), 1'000'000U);
  EXPECT_EQ(Count(page, "<dd>and 500 more</dd>"), 1U);
  EXPECT_EQ(Count(page, "<tr><td colspan=\"3\">and 500 more\n"), 1U);
  const std::string tree = Between(page, "<ul class=\"tree\">", "</section>");
  const std::string left = Between(tree, "<p>", " more nodes are left out.</p>");
  EXPECT_EQ(Count(tree, "<li>") + std::stoul(left), 8'001U);
}

TEST(LandingPage, ShowsEveryNodeOfEveryBoard) {
  for (const std::string& board : test_support::BoardNames()) {
    auto read = dt::ReadFdt(test_support::ReadBoard(board));
    ASSERT_TRUE(read) << board;
    Inventory inventory;
    inventory.devicetree = std::make_shared<const dt::Tree>(std::move(read).value());
    inventory.devicetree_known = true;
    const std::string page = PageOf(inventory, {.nodes = {"gpu"}});
    EXPECT_LT(page.size(), 60'000U) << board;
    const std::string tree = Between(page, "<ul class=\"tree\">", "</section>");
    EXPECT_EQ(Count(tree, "<li>"), inventory.devicetree->nodes().size()) << board;
  }
}

// The policy names the hash of each, and forbids whatever else there were.
TEST(LandingPage, NamesItsStyleAndItsScriptInThePolicy) {
  const std::string page = PageOf({.compatible = {"a,b"}});
  for (const std::string name : {"style", "script"}) {
    const std::string text = Between(page, "<" + name + ">", "</" + name + ">");
    ASSERT_GT(text.size(), 500U);
    EXPECT_EQ(Count(page, "<" + name), 1U);
    std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
    unsigned size = 0;
    ASSERT_EQ(EVP_Digest(text.data(), text.size(), hash.data(), &size, EVP_sha256(), nullptr), 1);
    std::array<unsigned char, 2 * EVP_MAX_MD_SIZE> base64{};
    EVP_EncodeBlock(base64.data(), hash.data(), static_cast<int>(size));
    EXPECT_THAT(
        std::string(LandingPageCsp()),
        HasSubstr(name + "-src 'sha256-" + reinterpret_cast<const char*>(base64.data()) + "';"));
  }
  EXPECT_THAT(std::string(LandingPageCsp()), testing::StartsWith("default-src 'none'; "));
}

TEST(LandingPage, AsksForNothingFromElsewhere) {
  const std::string page = PageOf({.compatible = {"a,b"}, .children = {{.name = "cpu"}}});
  EXPECT_FALSE(std::regex_search(page, std::regex("<[^>]* (style|src|on[a-z]+)=")));
  EXPECT_FALSE(std::regex_search(page, std::regex("href=\"(?!\\./|#|data:)")));
  EXPECT_FALSE(std::regex_search(page, std::regex("@import|url\\(|fetch\\(|innerHTML")));
}

TEST(LandingPage, LinksToTheOtherPagesAlsoBelowAPrefix) {
  Inventory inventory;
  const std::string page =
      ToLandingPage(inventory, ToLabels(inventory, {}), kBuild, {.metrics = "/other:metrics"});
  EXPECT_THAT(page, HasSubstr("href=\"./other:metrics\""));
  EXPECT_THAT(page, HasSubstr("href=\"./inventory.json\""));
  EXPECT_THAT(page, HasSubstr("href=\"./-/healthy\""));
}

}  // namespace
}  // namespace exporter
