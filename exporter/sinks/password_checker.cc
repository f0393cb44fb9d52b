#include "exporter/sinks/password_checker.h"

#include <crypt.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <array>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <new>
#include <set>
#include <thread>
#include <utility>

namespace exporter {
namespace {

using Digest = std::array<unsigned char, SHA256_DIGEST_LENGTH>;

// Of what makes a check: lengths part the texts from each other.
Digest ToDigest(const std::string& user, const std::string& hash, const std::string& password) {
  std::string all;
  for (const std::string& text : {user, hash, password}) {
    all += std::to_string(text.size()) + ":" + text;
  }
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(all.data()), all.size(), digest.data());
  OPENSSL_cleanse(all.data(), all.size());
  return digest;
}

// bcrypt takes a C string: with a NUL inside, the rest would not count.
bool Matches(const std::string& password, const std::string& hash) {
  if (password.find('\0') != std::string::npos) return false;
  const auto data = std::make_unique<crypt_data>();  // 32 KB
  const char* const found = crypt_r(password.c_str(), hash.c_str(), data.get());
  const bool matches = found != nullptr && std::strlen(found) == hash.size() &&
                       CRYPTO_memcmp(found, hash.data(), hash.size()) == 0;
  OPENSSL_cleanse(data.get(), sizeof *data);
  return matches;
}

}  // namespace

struct PasswordChecker::State {
  struct Job {
    std::string peer;
    std::string hash;
    std::string password;
    bool user_exists;
    Digest digest;
    std::function<void(Verdict)> tell;
  };

  // False if too many wait. REQUIRES: the mutex is held.
  bool Enqueue(Job job) {
    const auto waiting = waiting_of.find(job.peer);
    if (jobs.size() >= kMaxPasswordChecks ||
        (waiting != waiting_of.end() && waiting->second >= kMaxPasswordChecksOfPeer)) {
      return false;
    }
    ++waiting_of[job.peer];
    jobs.push_back(std::move(job));
    changed.notify_all();
    return true;
  }

  void Run() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [this] { return stopping || !jobs.empty(); });
      if (stopping) return;
      Job job = std::move(jobs.front());
      jobs.pop_front();
      lock.unlock();
      Verdict verdict = Verdict::kTooMany;
      try {
        verdict = Matches(job.password, job.hash) && job.user_exists ? Verdict::kRight
                                                                     : Verdict::kWrong;
      } catch (const std::bad_alloc&) {
        // It cannot be checked now.
      }
      OPENSSL_cleanse(job.password.data(), job.password.size());
      lock.lock();
      if (--waiting_of[job.peer] == 0) waiting_of.erase(job.peer);
      if (stopping) return;
      try {
        if (verdict == Verdict::kRight) {
          if (remembered.size() >= kMaxRememberedPasswords) remembered.erase(remembered.begin());
          remembered.insert(job.digest);
        }
      } catch (const std::bad_alloc&) {
        // It is checked again the next time.
      }
      lock.unlock();
      try {
        job.tell(verdict);
      } catch (const std::bad_alloc&) {
        // The peer's connection ends when its time is over.
      }
      lock.lock();
    }
  }

  std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false;
  bool running = false;  // from the first check on
  std::deque<Job> jobs;
  std::map<std::string, std::size_t> waiting_of;  // by peer, with the one under way
  std::set<Digest> remembered;
};

PasswordChecker::PasswordChecker() : state_(std::make_shared<State>()) {}

PasswordChecker::~PasswordChecker() {
  const std::lock_guard lock(state_->mutex);
  state_->stopping = true;
  state_->changed.notify_all();
}

void PasswordChecker::Check(const std::string& peer, const std::string& user,
                            const std::string& password, const Users& users,
                            const std::function<void(Verdict)>& tell) {
  const auto found = users.find(user);
  const bool user_exists = found != users.end();
  const std::string& hash = user_exists ? found->second : users.begin()->second;
  const Digest digest = ToDigest(user, hash, password);
  Verdict verdict = Verdict::kRight;
  {
    const std::lock_guard lock(state_->mutex);
    if (!user_exists || !state_->remembered.contains(digest)) {
      if (state_->Enqueue({peer, hash, password, user_exists, digest, tell})) {
        if (!state_->running) {
          std::thread([state = state_] { state->Run(); }).detach();
          state_->running = true;
        }
        return;
      }
      verdict = Verdict::kTooMany;
    }
  }
  tell(verdict);
}

}  // namespace exporter
