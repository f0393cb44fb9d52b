#include "exporter/sinks/http_server.h"

#include <arpa/inet.h>
#include <civetweb.h>
#include <netdb.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <ctime>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>

namespace exporter {
namespace {

// A silent peer holds a thread until the time-out; so many others still answer.
constexpr const char* kThreads = "8";
constexpr const char* kRequestTimeoutMs = "2500";
constexpr std::chrono::milliseconds kWakeInterval{20};
constexpr std::chrono::hours kForever{24 * 365};

struct Status {
  int code;
  std::string_view reason;
};
constexpr Status kOk{200, "OK"};
constexpr Status kNotFound{404, "Not Found"};
constexpr Status kMethodNotAllowed{405, "Method Not Allowed"};

struct HostPort {
  std::string host;
  std::string port;
};

HostPort Split(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  return {address.substr(0, colon), address.substr(colon + 1)};
}

std::string_view Trim(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

// Whether an Accept-Encoding names gzip with a weight other than 0: RFC 9110,
// section 12.5.3. Ranking plays no part; "*" gets the plain body.
bool TakesGzip(std::string_view accepted) {
  while (!accepted.empty()) {
    const std::string_view item = accepted.substr(0, accepted.find(','));
    accepted.remove_prefix(std::min(accepted.size(), item.size() + 1));
    const std::size_t semicolon = std::min(item.find(';'), item.size());
    if (!EqualsIgnoringCase(Trim(item.substr(0, semicolon)), "gzip")) continue;
    const std::string_view weight = Trim(item.substr(std::min(semicolon + 1, item.size())));
    return weight.find_first_of("123456789") != std::string_view::npos || weight.empty();
  }
  return false;
}

// False where the kernel was booted without IPv6.
bool HasIpv6() {
  const int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0) close(fd);
  return fd >= 0 || errno != EAFNOSUPPORT;
}

class CivetServer final : public HttpServer {
 public:
  explicit CivetServer(Pages pages) : pages_(std::make_shared<const Pages>(std::move(pages))) {}
  CivetServer(const CivetServer&) = delete;
  CivetServer& operator=(const CivetServer&) = delete;
  ~CivetServer() override { Stop(kForever); }

  bool Listen(const std::vector<std::string>& addresses, std::string* error) {
    // CivetWeb's "+9931" is both families, "9931" is IPv4.
    const std::string wildcard = HasIpv6() ? "+" : "";
    std::string ports;
    std::string list;
    for (const std::string& address : addresses) {
      const HostPort at = Split(address);
      ports += (ports.empty() ? "" : ",") +
               (at.host.empty() ? wildcard + at.port : at.host + ":" + at.port);
      list += (list.empty() ? "" : ", ") + address;
    }
    if (!Begin(ports)) {
      *error = "cannot listen on " + list + ": " + start_message_;
      return false;
    }
    NoteAddresses(addresses);
    return true;
  }

  std::vector<std::string> addresses() const override { return addresses_; }

  void Publish(Pages pages) override {
    auto published = std::make_shared<const Pages>(std::move(pages));
    const std::lock_guard lock(mutex_);
    pages_ = std::move(published);
  }

  bool Stop(std::chrono::milliseconds patience) override {
    if (context_ == nullptr) return true;
    // Shared, for the thread may outlive an impatient caller.
    struct Progress {
      std::mutex mutex;
      std::condition_variable changed;
      bool done = false;
    };
    const auto progress = std::make_shared<Progress>();
    std::thread([progress, context = context_] {
      mg_stop(context);
      const std::lock_guard lock(progress->mutex);
      progress->done = true;
      progress->changed.notify_all();
    }).detach();
    context_ = nullptr;
    const auto deadline = std::chrono::steady_clock::now() + patience;
    std::unique_lock lock(progress->mutex);
    while (!progress->done && std::chrono::steady_clock::now() < deadline) {
      // CivetWeb sees the stop when its poll wakes, and a connection wakes it.
      for (const HostPort& listener : listeners_) Connect(listener);
      progress->changed.wait_for(lock, kWakeInterval);
    }
    return progress->done;
  }

 private:
  bool Begin(const std::string& ports) {
    mg_callbacks callbacks{};
    callbacks.begin_request = [](mg_connection* connection) {
      return Self(connection)->Answer(connection);
    };
    callbacks.log_message = [](const mg_connection* connection, const char* message) {
      CivetServer* self = Self(connection);
      // The first says why; those after it say what that led to.
      if (self->starting_ && self->start_message_.empty()) self->start_message_ = message;
      return 1;
    };
    const std::array<const char*, 13> options = {"listening_ports",
                                                 ports.c_str(),
                                                 "num_threads",
                                                 kThreads,
                                                 "request_timeout_ms",
                                                 kRequestTimeoutMs,
                                                 "enable_keep_alive",
                                                 "no",
                                                 "tcp_nodelay",
                                                 "1",
                                                 "access_control_allow_origin",
                                                 "",
                                                 nullptr};
    context_ = mg_start(&callbacks, this, const_cast<const char**>(options.data()));
    starting_ = false;
    return context_ != nullptr;
  }

  static CivetServer* Self(const mg_connection* connection) {
    return static_cast<CivetServer*>(mg_get_user_data(mg_get_context(connection)));
  }

  void NoteAddresses(const std::vector<std::string>& asked) {
    std::vector<mg_server_port> ports(asked.size());
    const int count = mg_get_server_ports(context_, static_cast<int>(ports.size()), ports.data());
    for (int i = 0; i < count; ++i) {
      const auto index = static_cast<std::size_t>(i);
      const HostPort at{Split(asked[index]).host, std::to_string(ports[index].port)};
      addresses_.push_back((at.host.empty() ? "[::]" : at.host) + ":" + at.port);
      listeners_.push_back(at);
    }
  }

  // Connects and hangs up. An empty host is this machine's loopback.
  static void Connect(const HostPort& listener) {
    std::string host = listener.host;
    if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (getaddrinfo(host.empty() ? nullptr : host.c_str(), listener.port.c_str(), &hints, &found) !=
        0) {
      return;
    }
    for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
      const int fd = socket(at->ai_family, at->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (fd < 0) continue;
      // It does not matter how it ends: the attempt wakes the server.
      static_cast<void>(connect(fd, at->ai_addr, at->ai_addrlen));
      close(fd);
    }
    freeaddrinfo(found);
  }

  // The status code, which tells CivetWeb that the request was answered.
  int Answer(mg_connection* connection) const {
    const mg_request_info* request = mg_get_request_info(connection);
    const std::string_view method = request->request_method;
    const bool head = method == "HEAD";
    const std::shared_ptr<const Pages> pages = Current();
    const auto page = pages->find(std::string_view(request->local_uri));
    if (page == pages->end()) {
      return Send(connection, head, kNotFound, "Content-Type: text/plain; charset=utf-8\r\n",
                  "404 page not found\n");
    }
    if (!head && method != "GET") {
      return Send(connection, head, kMethodNotAllowed,
                  "Allow: GET, HEAD\r\nContent-Type: text/plain; charset=utf-8\r\n",
                  "405 method not allowed; expected GET or HEAD\n");
    }
    const std::string live = page->second.live ? page->second.live() : "";
    std::string headers = "Content-Type: " + page->second.content_type +
                          "\r\nVary: Accept-Encoding\r\n" + page->second.headers;
    const char* accepted = mg_get_header(connection, "Accept-Encoding");
    if (accepted != nullptr && TakesGzip(accepted)) {
      return Send(connection, head, kOk, headers + "Content-Encoding: gzip\r\n",
                  page->second.body.Gzip(live));
    }
    return Send(connection, head, kOk, headers, page->second.body.Plain(live));
  }

  std::shared_ptr<const Pages> Current() const {
    const std::lock_guard lock(mutex_);
    return pages_;
  }

  static int Send(mg_connection* connection, bool head, const Status& status,
                  const std::string& headers, const std::string& body) {
    std::array<char, 64> date{};
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    std::strftime(date.data(), date.size(), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &utc));
    std::string answer = "HTTP/1.1 " + std::to_string(status.code) + " " +
                         std::string(status.reason) + "\r\nDate: " + date.data() +
                         "\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n" + headers +
                         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
    if (!head) answer += body;
    mg_write(connection, answer.data(), answer.size());
    return status.code;
  }

  mutable std::mutex mutex_;  // of pages_
  std::shared_ptr<const Pages> pages_;
  mg_context* context_ = nullptr;
  std::vector<std::string> addresses_;
  std::vector<HostPort> listeners_;
  std::atomic<bool> starting_ = true;
  std::string start_message_;  // why CivetWeb could not begin; written while starting_
};

}  // namespace

bool IsListenAddress(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos) return false;
  const HostPort at = Split(address);
  if (at.port.empty() || at.port.size() > 5 ||
      at.port.find_first_not_of("0123456789") != std::string::npos || std::stoi(at.port) > 65535) {
    return false;
  }
  if (!at.host.empty() && at.host.find_first_not_of("0123456789.") == std::string::npos) {
    in_addr parsed{};
    return inet_pton(AF_INET, at.host.c_str(), &parsed) == 1;
  }
  if (!at.host.starts_with('[')) {
    return at.host.find_first_not_of(
               "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") ==
           std::string::npos;
  }
  in6_addr parsed{};
  return at.host.ends_with(']') &&
         inet_pton(AF_INET6, at.host.substr(1, at.host.size() - 2).c_str(), &parsed) == 1;
}

std::unique_ptr<HttpServer> HttpServer::Start(const std::vector<std::string>& addresses,
                                              Pages pages, std::string* error) {
  auto server = std::make_unique<CivetServer>(std::move(pages));
  if (!server->Listen(addresses, error)) return nullptr;
  return server;
}

}  // namespace exporter
