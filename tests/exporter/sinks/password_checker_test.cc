#include "exporter/sinks/password_checker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace exporter {
namespace {

// bcrypt hashes of "secret" and, of a cost that takes a while, of "slow".
constexpr const char* kSecret = "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
constexpr const char* kSlow = "$2y$11$abcdefghijklmnopqrstuunCeKINGCIR2HCghh6O3jDKZvMFq0Aja";
const PasswordChecker::Users kUsers = {{"ada", kSecret}, {"bob", kSecret}};

// Waits for the verdict.
Verdict Check(PasswordChecker* checker, const std::string& user, const std::string& password,
              const PasswordChecker::Users& users = kUsers) {
  std::mutex mutex;
  std::condition_variable told;
  std::optional<Verdict> verdict;
  checker->Check("192.0.2.1", user, password, users, [&](Verdict told_verdict) {
    const std::lock_guard lock(mutex);
    verdict = told_verdict;
    told.notify_all();
  });
  std::unique_lock lock(mutex);
  told.wait(lock, [&] { return verdict.has_value(); });
  return *verdict;
}

TEST(PasswordChecker, OnlyTheRightPasswordOfAUserIsRight) {
  PasswordChecker checker;
  EXPECT_EQ(Check(&checker, "ada", "secret"), Verdict::kRight);
  EXPECT_EQ(Check(&checker, "ada", "secret"), Verdict::kRight);  // now from memory
  for (const std::string& wrong : {std::string(), std::string("Secret"), std::string("secret "),
                                   std::string("secret\0x", 8), std::string(5000, 'a')}) {
    EXPECT_EQ(Check(&checker, "ada", wrong), Verdict::kWrong) << wrong;
  }
  EXPECT_EQ(Check(&checker, "eve", "secret"), Verdict::kWrong) << "no such user";
}

TEST(PasswordChecker, WhoIsRemovedIsNotRemembered) {
  PasswordChecker checker;
  EXPECT_EQ(Check(&checker, "bob", "secret"), Verdict::kRight);
  EXPECT_EQ(Check(&checker, "bob", "secret", {{"ada", kSecret}}), Verdict::kWrong);
  EXPECT_EQ(Check(&checker, "bob", "secret", {{"bob", kSlow}}), Verdict::kWrong) << "a new hash";
}

TEST(PasswordChecker, AFloodHoldsUpItsOwnPeerAlone) {
  const PasswordChecker::Users slow = {{"ada", kSlow}};
  PasswordChecker checker;
  ASSERT_EQ(Check(&checker, "ada", "slow", slow), Verdict::kRight);
  std::atomic<int> too_many = 0;
  for (int i = 0; i < 50; ++i) {
    checker.Check("198.51.100.1", "ada", "guess" + std::to_string(i), slow, [&](Verdict verdict) {
      if (verdict == Verdict::kTooMany) ++too_many;
    });
  }
  EXPECT_GE(too_many, 50 - static_cast<int>(kMaxPasswordChecksOfPeer) - 1);
  // A known password is known at once; another peer's is checked.
  const auto begin = std::chrono::steady_clock::now();
  bool right = false;
  checker.Check("198.51.100.1", "ada", "slow", slow, [&](Verdict v) { right = v == Verdict::kRight; });
  EXPECT_TRUE(right) << "told in the call itself";
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
  EXPECT_EQ(Check(&checker, "ada", "other", slow), Verdict::kWrong);
}

TEST(PasswordChecker, TheQueueHasAnEnd) {
  const PasswordChecker::Users slow = {{"ada", kSlow}};
  PasswordChecker checker;
  std::atomic<std::size_t> too_many = 0;
  const std::size_t asked = kMaxPasswordChecks + 10;
  for (std::size_t i = 0; i < asked; ++i) {
    checker.Check("peer " + std::to_string(i), "ada", "guess", slow, [&](Verdict verdict) {
      if (verdict == Verdict::kTooMany) ++too_many;
    });
  }
  EXPECT_GE(too_many, 1U);
  EXPECT_LE(too_many, 10U);
}

TEST(PasswordChecker, APasswordThatIsForgottenForOthersIsCheckedAgain) {
  PasswordChecker::Users users;
  for (std::size_t i = 0; i <= kMaxRememberedPasswords; ++i) users[std::to_string(i)] = kSecret;
  PasswordChecker checker;
  for (int round = 0; round < 2; ++round) {
    for (const auto& [user, hash] : users) {
      EXPECT_EQ(Check(&checker, user, "secret", users), Verdict::kRight);
    }
  }
}

TEST(PasswordChecker, EndsWhileItChecks) {
  const PasswordChecker::Users slow = {{"ada", kSlow}};
  bool told = false;
  {
    PasswordChecker checker;
    checker.Check("192.0.2.1", "ada", "slow", slow, [&](Verdict) { told = true; });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_FALSE(told) << "nobody is left to be told";
}

// A user who does not exist must not be told from one who does by the time it takes.
TEST(PasswordChecker, AnUnknownUserTakesAsLong) {
  const PasswordChecker::Users slow = {{"ada", kSlow}};
  PasswordChecker checker;
  const auto time_of = [&](const std::string& user) {
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(Check(&checker, user, "wrong", slow), Verdict::kWrong);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  double known = 1e9;
  double unknown = 1e9;
  for (int i = 0; i < 3; ++i) {
    known = std::min(known, time_of("ada"));
    unknown = std::min(unknown, time_of("eve"));
  }
  EXPECT_GT(unknown, known / 4) << "seconds";  // without the hash it is a thousandth
}

}  // namespace
}  // namespace exporter
