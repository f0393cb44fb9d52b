#include "dt/fingerprint.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/test_support/tree.h"

namespace dt {
namespace {

using test_support::MakeTree;
using test_support::NodeSpec;

std::uint64_t Of(const NodeSpec& root) { return Fingerprint(MakeTree(root)); }

const NodeSpec kBoard{.compatible = {"a,b"}, .children = {{.name = "gpu@1", .compatible = {"a,g"}}}};

TEST(Fingerprint, IsFnv1aOfTheDocumentedBytes) {
  // The hash of "/" NUL "okay" NUL 0x01, by an independent computation:
  //   python3 -c 'h=0xcbf29ce484222325
  //   for b in b"/\0okay\0\1": h=(h^b)*0x100000001b3%2**64
  //   print(hex(h))'
  EXPECT_EQ(Of({}), 0xe895eb47dd3d86edULL);
}

TEST(Fingerprint, ChangesWithNodesCompatiblesAndStatus) {
  NodeSpec node = kBoard;
  node.children.push_back({.name = "npu"});
  EXPECT_NE(Of(node), Of(kBoard));
  NodeSpec compatible = kBoard;
  compatible.children[0].compatible = {"a,h"};
  EXPECT_NE(Of(compatible), Of(kBoard));
  NodeSpec status = kBoard;
  status.children[0].status = "disabled";
  EXPECT_NE(Of(status), Of(kBoard));
}

TEST(Fingerprint, DoesNotChangeWithTheWayToSayOkay) {
  for (const char* word : {"okay", "ok"}) {
    NodeSpec board = kBoard;
    board.children[0].status = word;
    EXPECT_EQ(Of(board), Of(kBoard)) << word;
  }
}

TEST(Fingerprint, DoesNotChangeWithWhatFirmwareFillsIn) {
  NodeSpec board = kBoard;
  board.model = "another";
  for (const char* name : {"chosen", "aliases", "memory", "memory@80000000", "reserved-memory",
                           "__symbols__", "__fixups__", "__local_fixups__"}) {
    board.children.push_back({.name = name, .children = {{.name = "below"}}});
  }
  EXPECT_EQ(Of(board), Of(kBoard));
}

TEST(Fingerprint, TakesThoseNamesAtTheTopLevelOnly) {
  NodeSpec board = kBoard;
  board.children[0].children.push_back({.name = "memory"});
  EXPECT_NE(Of(board), Of(kBoard));
}

}  // namespace
}  // namespace dt
