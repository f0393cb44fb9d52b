// Serves pages over HTTP/1.1, plain or over TLS. With kubernetes/https_client the only door to
// Boost.Asio and Boost.Beast.
//
// Knows paths and bodies, nothing of hardware. A request copies a body that is there already;
// only a page's `live` part is made for it. One thread answers all connections, none of which
// can hold it up: a silent peer costs its socket, and a little memory.
#ifndef EXPORTER_SINKS_HTTP_SERVER_H_
#define EXPORTER_SINKS_HTTP_SERVER_H_

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "exporter/sinks/prepared_body.h"
#include "exporter/sinks/tls_context.h"
#include "exporter/sinks/web_settings.h"

namespace exporter {

// Bounds that hold whatever peers do.
inline constexpr std::size_t kMaxConnections = 256;       // one more ends the longest idle one
inline constexpr std::size_t kMaxRequestHeadBytes = 16384;  // beyond: 431
inline constexpr std::size_t kMaxRequestBodyBytes = 4096;   // of no use to any page; beyond: 413
inline constexpr std::chrono::seconds kRequestPatience{5};   // for the handshake, and a first head
inline constexpr std::chrono::seconds kAnswerPatience{30};   // until an answer is taken
inline constexpr std::chrono::minutes kIdlePatience{5};      // between requests: as Go's client

struct HttpReply {
  int status;  // 200, 403, 500...
  std::string text;
};

// What a path answers.
struct Page {
  // GET and HEAD.
  std::string content_type;
  PreparedBody body;
  // What follows the body, asked for each request on the server's thread. May be empty.
  std::function<std::string()> live;
  std::vector<std::pair<std::string, std::string>> headers = {};  // more of them
};
using Pages = std::map<std::string, Page, std::less<>>;  // by path: "/metrics"

// What POST and PUT of a path do: `run` is called on the server's thread, and calls `reply`
// once, there or from any other thread, at once or later.
using Action = std::function<void(std::function<void(HttpReply)> reply)>;
using Actions = std::map<std::string, Action, std::less<>>;

// What the web configuration file makes of a server.
struct WebSecurity {
  WebSettings settings;
  TlsContext tls;  // of settings.tls; null: plain HTTP
};
// The one that holds now; null: plain HTTP for everybody. Asked for each connection and each
// request, on the server's thread.
using SecuritySource = std::function<std::shared_ptr<const WebSecurity>()>;

// Whether `address` is what HttpServer listens on: host:port, the host empty (all
// addresses, IPv4 and IPv6), a name, an IPv4 address, or an IPv6 one in brackets.
bool IsListenAddress(const std::string& address);

// Thread-safe. Destroying it stops it.
class HttpServer {
 public:
  // Listens on every one of `addresses` (REQUIRES: IsListenAddress) and answers with `pages`
  // and `actions`; null and one line in *error if one cannot be had. Where the kernel has no
  // IPv6, an empty host means all IPv4 addresses.
  static std::unique_ptr<HttpServer> Start(const std::vector<std::string>& addresses, Pages pages,
                                           Actions actions, SecuritySource security,
                                           std::string* error);
  virtual ~HttpServer() = default;

  // Where it listens, with the real port in place of port 0: "127.0.0.1:43211".
  virtual std::vector<std::string> addresses() const = 0;

  // Every request that begins from now on sees these pages.
  virtual void Publish(Pages pages) = 0;

  // Every request that begins from now on is held to that.
  virtual void Secure(SecuritySource security) = 0;

  // Stops listening, lets answers under way finish for at most `patience`, and ends all
  // connections.
  virtual void Stop(std::chrono::milliseconds patience) = 0;
};

}  // namespace exporter

#endif  // EXPORTER_SINKS_HTTP_SERVER_H_
