#include "exporter/departures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace exporter {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Clock = Departures::Clock;
using std::chrono::seconds;

constexpr auto kDelay = seconds(30);  // --labels.removal-delay
constexpr Clock::time_point kStart{seconds(1000)};

Accelerator Usb(const std::string& address, const std::string& compatible = "usb1a6e,89a") {
  Accelerator accelerator;
  accelerator.kind = "tpu";
  accelerator.bus = Bus::kUsb;
  accelerator.address = address;
  accelerator.compatible = compatible;
  accelerator.compatibles = {compatible};
  accelerator.enabled = true;
  return accelerator;
}

Inventory With(std::vector<Accelerator> accelerators) {
  Inventory inventory;
  inventory.accelerators = std::move(accelerators);
  return inventory;
}

std::vector<std::string> Addresses(const Departures& departures) {
  std::vector<std::string> addresses;
  for (const Accelerator& a : departures.accelerators()) addresses.push_back(a.address);
  return addresses;
}

TEST(Departures, AreNoneAtFirst) {
  const Departures departures;
  EXPECT_THAT(departures.accelerators(), IsEmpty());
  EXPECT_EQ(departures.next_expiry(), std::nullopt);
}

TEST(Departures, WhatIsUnpluggedStaysUntilTheDelayHasPassed) {
  Departures departures;
  departures.Update(With({Usb("1-1")}), With({}), {}, kStart, kDelay);
  EXPECT_THAT(Addresses(departures), ElementsAre("1-1"));
  EXPECT_EQ(departures.next_expiry(), kStart + kDelay);
  departures.Expire(kStart + kDelay - seconds(1));
  EXPECT_THAT(Addresses(departures), ElementsAre("1-1"));
  departures.Expire(kStart + kDelay);
  EXPECT_THAT(Addresses(departures), IsEmpty());
  EXPECT_EQ(departures.next_expiry(), std::nullopt);
}

TEST(Departures, WithoutADelayNothingStays) {
  Departures departures;
  departures.Update(With({Usb("1-1")}), With({}), {}, kStart, seconds(0));
  EXPECT_THAT(Addresses(departures), IsEmpty());
}

TEST(Departures, OfPciAreKeptToo) {
  Accelerator function = Usb("0000:01:00.0", "pci1ac1,89a");
  function.bus = Bus::kPci;
  Departures departures;
  departures.Update(With({function}), With({}), {}, kStart, kDelay);
  EXPECT_THAT(Addresses(departures), ElementsAre("0000:01:00.0"));
}

TEST(Departures, OfADevicetreeAreGoneAtOnce) {
  Accelerator node = Usb("/gpu@1", "nvidia,gm20b");
  node.bus = Bus::kDevicetree;
  Departures departures;
  departures.Update(With({node}), With({}), {}, kStart, kDelay);
  EXPECT_THAT(Addresses(departures), IsEmpty());
}

TEST(Departures, WhatComesBackIsNoLongerDeparted) {
  Departures departures;
  departures.Update(With({Usb("1-1")}), With({}), {}, kStart, kDelay);
  departures.Update(With({}), With({Usb("1-1")}), {}, kStart + seconds(5), kDelay);
  EXPECT_THAT(Addresses(departures), IsEmpty());
}

TEST(Departures, WhatComesBackAtAnotherPortIsNoLongerDeparted) {
  Departures departures;
  departures.Update(With({Usb("1-1")}), With({}), {}, kStart, kDelay);
  departures.Update(With({}), With({Usb("2-4")}), {}, kStart + seconds(5), kDelay);
  EXPECT_THAT(Addresses(departures), IsEmpty());
}

TEST(Departures, WhatMovesToAnotherPortBetweenTwoReadsHasNotDeparted) {
  Departures departures;
  departures.Update(With({Usb("1-1")}), With({Usb("1-2")}), {}, kStart, kDelay);
  EXPECT_THAT(Addresses(departures), IsEmpty());
}

TEST(Departures, WhatComesAnewReplacesOneOfItsLikeOnly) {
  Departures departures;
  departures.Update(With({Usb("1-1"), Usb("1-2"), Usb("1-3", "usb3e7,2485")}), With({}), {}, kStart,
                    kDelay);
  departures.Update(With({}), With({Usb("1-2")}), {}, kStart + seconds(1), kDelay);
  EXPECT_EQ(departures.accelerators().size(), 2U);
  departures.Update(With({Usb("1-2")}), With({Usb("1-1"), Usb("1-2")}), {}, kStart + seconds(2),
                    kDelay);
  EXPECT_THAT(Addresses(departures), ElementsAre("1-3"));
}

TEST(Departures, WhatWasThereBeforeDoesNotStandForWhatDeparted) {
  Departures departures;
  departures.Update(With({Usb("1-1"), Usb("1-2")}), With({Usb("1-2")}), {}, kStart, kDelay);
  EXPECT_THAT(Addresses(departures), ElementsAre("1-1"));
  departures.Update(With({Usb("1-2")}), With({Usb("1-2")}), {}, kStart + seconds(1), kDelay);
  EXPECT_THAT(Addresses(departures), ElementsAre("1-1"));
}

TEST(Departures, CoralThatChangesItsIdHasNotDeparted) {
  // Both ids are published as usb1a6e,89a, by accelerators.
  Departures departures;
  departures.Update(With({Usb("2-1")}), With({Usb("2-1")}), {}, kStart, kDelay);
  EXPECT_THAT(Addresses(departures), IsEmpty());
}

TEST(Departures, AnotherDeviceInItsPlaceDoesNotStandForIt) {
  Departures departures;
  departures.Update(With({Usb("1-1")}), With({Usb("1-1", "usb3e7,2485")}), {}, kStart, kDelay);
  EXPECT_THAT(Addresses(departures), ElementsAre("1-1"));
  EXPECT_EQ(departures.accelerators()[0].compatible, "usb1a6e,89a");
}

TEST(Departures, ADeviceOfAnotherBusDoesNotStandForIt) {
  Accelerator function = Usb("0000:01:00.0", "pci1ac1,89a");
  function.bus = Bus::kPci;
  Departures departures;
  departures.Update(With({Usb("1-1")}), With({function}), {}, kStart, kDelay);
  EXPECT_THAT(Addresses(departures), ElementsAre("1-1"));
}

TEST(Departures, WhatFallsBelowTheStateThatGivesLabelsHasDeparted) {
  const LabelRules rules{.accelerator_state = AcceleratorState::kBound};
  Accelerator bound = Usb("1-1");
  bound.bound = true;
  bound.driver = "usbhid";
  Departures departures;
  departures.Update(With({bound}), With({Usb("1-1")}), rules, kStart, kDelay);
  EXPECT_THAT(Addresses(departures), ElementsAre("1-1"));
  EXPECT_TRUE(departures.accelerators()[0].bound);  // as it was when it gave labels
  departures.Update(With({Usb("1-1")}), With({bound}), rules, kStart + seconds(5), kDelay);
  EXPECT_THAT(Addresses(departures), IsEmpty());
}

TEST(Departures, WhatGaveNoLabelsDoesNotDepart) {
  Departures departures;
  departures.Update(With({Usb("1-1")}), With({}), {.accelerator_state = AcceleratorState::kBound},
                    kStart, kDelay);
  EXPECT_THAT(Addresses(departures), IsEmpty());
  Accelerator display = Usb("1-2");
  display.kind = "display";
  departures.Update(With({display}), With({}), {}, kStart, kDelay);
  EXPECT_THAT(Addresses(departures), IsEmpty());
}

TEST(Departures, ExpireEachAtItsOwnTime) {
  Departures departures;
  departures.Update(With({Usb("1-1"), Usb("1-2", "usb3e7,2485")}),
                    With({Usb("1-2", "usb3e7,2485")}), {}, kStart, kDelay);
  departures.Update(With({Usb("1-2", "usb3e7,2485")}), With({}), {}, kStart + seconds(10), kDelay);
  EXPECT_EQ(departures.next_expiry(), kStart + kDelay);
  departures.Expire(kStart + kDelay);
  EXPECT_THAT(Addresses(departures), ElementsAre("1-2"));
  EXPECT_EQ(departures.next_expiry(), kStart + seconds(10) + kDelay);
}

TEST(Departures, AnUpdateForgetsThoseWhoseDelayHasPassed) {
  Departures departures;
  departures.Update(With({Usb("1-1")}), With({}), {}, kStart, kDelay);
  departures.Update(With({}), With({}), {}, kStart + kDelay, kDelay);
  EXPECT_THAT(Addresses(departures), IsEmpty());
}

TEST(Departures, TheDelayOfWhatIsAlreadyGoneIsNotRenewed) {
  Departures departures;
  departures.Update(With({Usb("1-1")}), With({}), {}, kStart, kDelay);
  departures.Update(With({}), With({}), {}, kStart + seconds(20), kDelay);
  EXPECT_EQ(departures.next_expiry(), kStart + kDelay);
}

}  // namespace
}  // namespace exporter
