#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "exporter/departures.h"

namespace exporter {
namespace {

using Clock = RemovalHold::Clock;
using std::chrono::hours;
using std::chrono::seconds;

constexpr auto kDelay = seconds(30);  // --labels.removal-delay
constexpr Clock::time_point kStart{seconds(1000)};
constexpr Clock::time_point kEnd = kStart + kDelay;

CollectorReport Read(const std::string& name) { return {.name = name, .success = true}; }
CollectorReport Failed(const std::string& name) { return {.name = name, .success = false}; }
CollectorReport Skipped(const std::string& name) {
  return {.name = name, .success = true, .skipped_devices = 1};
}

Inventory Of(std::vector<CollectorReport> collectors) {
  Inventory inventory;
  inventory.collectors = std::move(collectors);
  return inventory;
}

TEST(RemovalHold, HoldsBeforeAnythingWasRead) {
  const RemovalHold hold(kStart, kDelay);
  EXPECT_FALSE(hold.MayRemove(kEnd + hours(24)));
  EXPECT_EQ(hold.next_change(), std::nullopt);
}

TEST(RemovalHold, EndsOnceAllIsReadAndTheDelayHasPassed) {
  RemovalHold hold(kStart, kDelay);
  hold.Saw(Of({Read("devicetree"), Read("pci")}));
  EXPECT_FALSE(hold.MayRemove(kStart));
  EXPECT_EQ(hold.next_change(), kEnd);
  EXPECT_FALSE(hold.MayRemove(kEnd - seconds(1)));
  EXPECT_TRUE(hold.MayRemove(kEnd));
}

TEST(RemovalHold, WithoutADelayEndsWithTheFirstGoodRead) {
  RemovalHold hold(kStart, seconds(0));
  EXPECT_FALSE(hold.MayRemove(kStart));
  hold.Saw(Of({Read("pci")}));
  EXPECT_TRUE(hold.MayRemove(kStart));
}

TEST(RemovalHold, WaitsForACollectorThatCannotRead) {
  RemovalHold hold(kStart, kDelay);
  hold.Saw(Of({Read("devicetree"), Failed("pci")}));
  EXPECT_FALSE(hold.MayRemove(kEnd + hours(24)));
  EXPECT_EQ(hold.next_change(), std::nullopt);  // no time brings it, only a read
}

TEST(RemovalHold, WaitsForADeviceThatCannotBeRead) {
  RemovalHold hold(kStart, kDelay);
  hold.Saw(Of({Read("devicetree"), Skipped("pci")}));
  EXPECT_FALSE(hold.MayRemove(kEnd));
  hold.Saw(Of({Read("devicetree"), Read("pci")}));
  EXPECT_TRUE(hold.MayRemove(kEnd));
}

TEST(RemovalHold, EachCollectorNeedsOneGoodReadAtAnyTime) {
  RemovalHold hold(kStart, kDelay);
  hold.Saw(Of({Read("devicetree"), Failed("pci")}));
  hold.Saw(Of({Failed("devicetree"), Read("pci")}));
  EXPECT_TRUE(hold.MayRemove(kEnd));
}

TEST(RemovalHold, DoesNotComeBackWithALaterFailure) {
  RemovalHold hold(kStart, kDelay);
  hold.Saw(Of({Read("devicetree"), Read("pci")}));
  hold.Saw(Of({Failed("devicetree"), Skipped("pci")}));
  EXPECT_TRUE(hold.MayRemove(kEnd));
}

TEST(RemovalHold, AfterTheDelayEndsWithTheReadItself) {
  RemovalHold hold(kStart, kDelay);
  hold.Saw(Of({Failed("pci")}));
  hold.Expire(kEnd + hours(1));
  hold.Saw(Of({Read("pci")}));
  EXPECT_TRUE(hold.MayRemove(kEnd + hours(1)));
}

TEST(RemovalHold, HasNoNextChangeOnceThatWasTaken) {
  RemovalHold hold(kStart, kDelay);
  hold.Saw(Of({Read("pci")}));
  hold.Expire(kEnd - seconds(1));  // too early: it still comes
  EXPECT_EQ(hold.next_change(), kEnd);
  hold.Expire(kEnd);
  EXPECT_EQ(hold.next_change(), std::nullopt);
  hold.Saw(Of({Failed("pci")}));
  EXPECT_EQ(hold.next_change(), std::nullopt);
  EXPECT_TRUE(hold.MayRemove(kEnd));
}

}  // namespace
}  // namespace exporter
