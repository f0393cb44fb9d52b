// What the sinks have to tell: plain values, which projections/metrics renders.
#ifndef EXPORTER_SINK_REPORT_H_
#define EXPORTER_SINK_REPORT_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace exporter {

// Why a request to the API server came to nothing. Its word is the `reason` of
// devicetree_label_apply_failures_total.
enum class ApplyFailure {
  kConflict,      // 409, again and again: the Node changes under us
  kCredentials,   // a token, certificate or key could not be read
  kDns,           // the server's name has no address
  kForbidden,     // 403: a right is missing, or the fence's policy refused
  kInvalid,       // 422, or another answer of 4xx: the request is refused for what it says
  kNetwork,       // no connection, or one that broke off
  kNotFound,      // 404: there is no such Node (yet)
  kServerError,   // 5xx, or an answer that is not the API's
  kThrottled,     // 429
  kTimeout,       // no answer in time
  kTls,           // the handshake failed: the certificate is not trusted or for another name
  kUnauthorized,  // 401, also with the token read anew
};
inline constexpr std::array<std::string_view, 12> kApplyFailures = {
    "conflict",  "credentials",  "dns",       "forbidden", "invalid", "network",
    "not_found", "server_error", "throttled", "timeout",   "tls",     "unauthorized"};

struct SinkReport {
  std::uint64_t applies = 0;                                    // that the server took
  std::array<std::uint64_t, kApplyFailures.size()> failures{};  // by ApplyFailure
  std::map<std::string, std::uint64_t> conflicts;               // labels held by others, by manager
  std::uint64_t repairs = 0;                                    // labels set right after a drift
  std::optional<double> last_success;  // Unix seconds: the server last seen to hold all as wanted
  struct AppliedLabel {
    std::string key;
    bool applied;  // the server was last seen to hold it with the wanted value
  };
  std::vector<AppliedLabel> labels;  // each wanted one, in the order of the LabelSet
  std::size_t yielded = 0;           // of these, left as another manager has them
};

// Whether each file that goes out was written when that was last tried, by the word of
// devicetree_exporter_file_last_write_successful.
using FileReport = std::map<std::string_view, bool>;

}  // namespace exporter

#endif  // EXPORTER_SINK_REPORT_H_
