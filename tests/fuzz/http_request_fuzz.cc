// Whatever a peer sends before it closes its side, the server answers with whole answers of
// HTTP/1.1, each with a status that it may have, and closes; and the next peer is served. A
// first byte of `u` asks the server that wants to know who is there.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "exporter/printable.h"
#include "exporter/sinks/http_server.h"
#include "tests/fuzz/properties.h"

namespace {

using exporter::HttpReply;
using exporter::HttpServer;

// bcrypt's of "secret", of the lowest cost.
constexpr const char* kHash = "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

exporter::SecuritySource SecurityOf(bool with_users) {
  auto security = std::make_shared<exporter::WebSecurity>();
  security->settings.headers = {{"X-Configured", "yes"}};
  if (with_users) security->settings.users = {{"ada", kHash}};
  return [security] { return security; };
}

std::unique_ptr<HttpServer> Start(bool with_users) {
  exporter::Pages pages;
  pages.emplace("/", exporter::Page{"text/plain", exporter::PreparedBody("fixed "),
                                    [] { return std::string("live"); }});
  const auto act = [](const std::function<void(HttpReply)>& reply) { reply({200, "acted\n"}); };
  std::string error;
  auto server = HttpServer::Start({"127.0.0.1:0"}, std::move(pages), {{"/act", act}},
                                  SecurityOf(with_users), &error);
  fuzz::Require(server != nullptr, "the server starts", error);
  return server;
}

// What comes back until the server closes.
std::string Ask(const HttpServer& server, std::string_view request) {
  const std::string address = server.addresses().front();
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.find(':') + 1))));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  // libFuzzer's timer interrupts what waits.
  const long failed =
      TEMP_FAILURE_RETRY(connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to));
  fuzz::Require(failed == 0, "the server accepts", address + ": " + std::strerror(errno));
  // What the server does not want to read any more cannot be sent.
  for (ssize_t sent = 1; sent > 0 && !request.empty();) {
    sent = TEMP_FAILURE_RETRY(send(fd, request.data(), request.size(), MSG_NOSIGNAL));
    request.remove_prefix(sent > 0 ? static_cast<std::size_t>(sent) : 0);
  }
  shutdown(fd, SHUT_WR);
  std::string answers;
  char buffer[4096];
  for (ssize_t count = 0; (count = TEMP_FAILURE_RETRY(recv(fd, buffer, sizeof buffer, 0))) > 0;) {
    answers.append(buffer, static_cast<std::size_t>(count));
  }
  close(fd);
  return answers;
}

// Takes one answer, whose body is there unless it is of a HEAD. RFC 9112, sections 4 to 6.
bool TakeAnswer(std::string_view* answers, std::string_view methods) {
  static const std::set<std::string_view> statuses = {"200", "400", "401", "404", "405",
                                                      "413", "431", "503", "505"};
  if (!answers->starts_with("HTTP/1.1 ")) return false;
  const std::string_view status = answers->substr(9, 4);
  const std::size_t end = answers->find("\r\n\r\n");
  if (end == answers->npos) return false;
  std::string_view head = answers->substr(0, end + 2);
  answers->remove_prefix(end + 4);
  if (status == "100 ") return head.find("\r\n") + 2 == head.size();
  if (!status.ends_with(' ') || !statuses.contains(status.substr(0, 3))) return false;
  std::size_t size = answers->npos;
  bool configured = false;
  for (head.remove_prefix(head.find("\r\n") + 2); !head.empty();) {
    const std::string_view line = head.substr(0, head.find("\r\n"));
    head.remove_prefix(line.size() + 2);
    const std::size_t colon = line.find(": ");
    if (colon == 0 || colon == line.npos || !fuzz::IsPrintableText(line)) return false;
    if (line.find('\n') != line.npos) return false;
    const std::string_view value = line.substr(colon + 2);
    if (line.substr(0, colon) == "X-Configured") configured = value == "yes";
    if (line.substr(0, colon) != "Content-Length") continue;
    const auto [rest, error] = std::from_chars(value.data(), value.data() + value.size(), size);
    if (error != std::errc() || rest != value.data() + value.size()) return false;
  }
  if (!configured || size == answers->npos) return false;
  const bool has_body = answers->size() >= size && !answers->substr(0, size).starts_with("HTTP/1.1");
  if (!has_body && methods.find("HEAD") == methods.npos) return false;
  if (has_body) answers->remove_prefix(size);
  return true;
}

}  // namespace

// What OpenSSL keeps for a thread that lives as long as the program.
extern "C" const char* __lsan_default_suppressions() { return "leak:libcrypto.so"; }

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::unique_ptr<HttpServer> servers[] = {Start(false), Start(true)};
  std::string_view request(reinterpret_cast<const char*>(data), size);
  const bool with_users = request.starts_with('u');
  if (with_users) request.remove_prefix(1);
  const HttpServer& server = *servers[with_users ? 1 : 0];
  const std::string answers = Ask(server, request);
  for (std::string_view rest = answers; !rest.empty();) {
    fuzz::Require(TakeAnswer(&rest, request), "an answer is one of HTTP", exporter::Printable(answers));
  }
  // Again where a machine was so busy that the server's patience was over; libFuzzer and ctest
  // have one as well.
  std::string next;
  while (next.empty()) {
    next = Ask(*servers[0], "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  }
  fuzz::Require(next.starts_with("HTTP/1.1 200 OK\r\n") && next.ends_with("\r\n\r\nfixed live"),
                "the next peer is served", exporter::Printable(next));
  return 0;
}
