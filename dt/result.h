// What every fallible function of this project returns: a value, or an Error.
//
// The member names are those of C++23's std::expected. Thread-compatible value
// types; nothing here throws, but value() on an error (and error() on a value)
// is a programming error and ends the program.
#ifndef DT_RESULT_H_
#define DT_RESULT_H_

#include <string>
#include <utility>
#include <variant>

namespace dt {

enum class ErrorCode {
  kNotFound,          // it is not there: ordinary for hardware
  kPermissionDenied,  // it is there, and may not be read
  kIo,                // it is there, and reading failed
  kMalformed,         // it was read, and breaks its format or a bound of ours
};

// NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): it loses sight of what a variant holds
struct Error {
  ErrorCode code;
  std::string message;  // where, what, and what was expected; it may quote bytes of the input
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value)  // NOLINT(google-explicit-constructor): as std::expected has it
      : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error)  // NOLINT(google-explicit-constructor)
      : state_(std::in_place_index<1>, std::move(error)) {}

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  // REQUIRES: has_value().
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  const T* operator->() const { return &value(); }

  // REQUIRES: !has_value().
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

}  // namespace dt

#endif  // DT_RESULT_H_
