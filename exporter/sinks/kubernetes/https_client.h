// HTTPS to one server, one request at a time. The only door to Boost.Beast.
//
// The server's certificate and its name or address are always verified, unless
// the access says insecure_skip_tls_verify. The token is read for each request,
// certificates and keys for each connection.
#ifndef EXPORTER_SINKS_KUBERNETES_HTTPS_CLIENT_H_
#define EXPORTER_SINKS_KUBERNETES_HTTPS_CLIENT_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "exporter/sink_report.h"
#include "exporter/sinks/kubernetes/api_access.h"

namespace exporter {

// The largest answer, or line of a stream, that is taken: a Node's metadata, of
// which annotations alone may be 256 KiB.
inline constexpr std::size_t kMaxAnswerBytes = 4 << 20;

struct HttpRequest {
  std::string method;
  std::string target;  // below the access's path_prefix: "/api/v1/nodes/a"
  std::string accept;
  std::string content_type;  // of the body; empty if there is none
  std::string body;
};

struct HttpResponse {
  int status = 0;  // 0: there is no whole answer; `failure` and `error` say why
  std::string body;
  std::optional<std::chrono::seconds> retry_after;
  ApplyFailure failure{};
  std::string error;  // one line, without the server's name
};

// Not thread-safe, but for Cancel().
class HttpsClient {
 public:
  HttpsClient(ApiAccess access, std::string user_agent);
  ~HttpsClient();

  // Blocks until the whole answer is there, or `patience` has passed. Opens a
  // connection where none is left of an earlier Send().
  HttpResponse Send(const HttpRequest& request, std::chrono::milliseconds patience);

  // Sends on a new connection; hands over each line of the answer as it comes,
  // if its status is 200. Returns at the end of the stream (status 200), when
  // `on_line` gives false, with another status and the body, or as Send() fails.
  // `patience` is for the head, `life` for all of it.
  HttpResponse Stream(const HttpRequest& request, std::chrono::milliseconds patience,
                      std::chrono::milliseconds life,
                      const std::function<bool(std::string_view)>& on_line);

  // Closes the connection, if there is one.
  void Close();

  // From any thread: what blocks returns at once, and so does all that comes after.
  void Cancel();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace exporter

#endif  // EXPORTER_SINKS_KUBERNETES_HTTPS_CLIENT_H_
