// Serves pages over HTTP/1.1. The only door to CivetWeb.
//
// Knows paths and bodies, nothing of hardware. A request copies a body that is
// there already; only a page's `live` part is made for it.
#ifndef EXPORTER_SINKS_HTTP_SERVER_H_
#define EXPORTER_SINKS_HTTP_SERVER_H_

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "exporter/sinks/prepared_body.h"

namespace exporter {

// What GET and HEAD of one path answer.
struct Page {
  std::string content_type;
  PreparedBody body;
  // What follows the body, asked for each request, from many threads at once. May be empty.
  std::function<std::string()> live;
  std::string headers = "";  // more of them, each line ended by \r\n
};
using Pages = std::map<std::string, Page, std::less<>>;  // by path: "/metrics"

// Whether `address` is what HttpServer listens on: host:port, the host empty (all
// addresses, IPv4 and IPv6), a name, an IPv4 address, or an IPv6 one in brackets.
bool IsListenAddress(const std::string& address);

// Thread-safe. Destroying it stops it, and waits for answers under way.
class HttpServer {
 public:
  // Listens on every one of `addresses` (REQUIRES: IsListenAddress) and answers
  // with `pages`; null and one line in *error if one cannot be had. Where the
  // kernel has no IPv6, an empty host means all IPv4 addresses.
  static std::unique_ptr<HttpServer> Start(const std::vector<std::string>& addresses, Pages pages,
                                           std::string* error);
  virtual ~HttpServer() = default;

  // Where it listens, with the real port in place of port 0: "127.0.0.1:43211".
  virtual std::vector<std::string> addresses() const = 0;

  // Every request that begins from now on sees these pages.
  virtual void Publish(Pages pages) = 0;

  // Stops listening and lets answers under way finish. False if some peer held
  // one beyond `patience`: the process should exit without destroying this.
  virtual bool Stop(std::chrono::milliseconds patience) = 0;
};

}  // namespace exporter

#endif  // EXPORTER_SINKS_HTTP_SERVER_H_
