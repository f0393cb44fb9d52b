// Checks passwords against bcrypt hashes, which is slow on purpose, beside everything else.
#ifndef EXPORTER_SINKS_PASSWORD_CHECKER_H_
#define EXPORTER_SINKS_PASSWORD_CHECKER_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace exporter {

// How many checks may wait, in all and for one peer: a flood of wrong passwords holds up its
// own peer, and what is known to be right is never held up.
inline constexpr std::size_t kMaxPasswordChecks = 64;
inline constexpr std::size_t kMaxPasswordChecksOfPeer = 4;

// Right passwords that are remembered (as a digest), so that each is checked once.
inline constexpr std::size_t kMaxRememberedPasswords = 100;

enum class Verdict { kRight, kWrong, kTooMany };

// Thread-safe. One thread does the checks, one after the other; it ends after
// the one under way once this is gone.
class PasswordChecker {
 public:
  using Users = std::map<std::string, std::string, std::less<>>;  // name: bcrypt hash

  PasswordChecker();
  ~PasswordChecker();

  // Whether `users` has `user` with that password, for `peer`, an address. Calls `tell` once,
  // here if it is known, else from another thread; not at all if this goes first. A user who
  // does not exist takes as long as one who does. REQUIRES: users is not empty.
  void Check(const std::string& peer, const std::string& user, const std::string& password,
             const Users& users, const std::function<void(Verdict)>& tell);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace exporter

#endif  // EXPORTER_SINKS_PASSWORD_CHECKER_H_
