#include "exporter/sinks/http_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace exporter {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

Pages OnePage(const std::string& text) {
  Pages pages;
  pages.emplace("/page", Page{"text/plain", PreparedBody(text), [] { return std::string("live"); }});
  return pages;
}

// A reply that the test gives.
struct Later {
  std::atomic<bool> asked = false;
  std::function<void(HttpReply)> reply;
};

// POST of /action is answered by another thread, of /later by the test.
Actions TwoActions(const std::shared_ptr<Later>& later) {
  return {{"/action",
           [](const std::function<void(HttpReply)>& reply) {
             std::thread([reply] { reply({200, "acted\n"}); }).detach();
           }},
          {"/later", [later](const std::function<void(HttpReply)>& reply) {
             later->reply = reply;
             later->asked = true;
           }}};
}

// The hash is bcrypt's of "secret", of the lowest cost.
constexpr const char* kHash = "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
constexpr const char* kAdaSecret = "Authorization: Basic YWRhOnNlY3JldA==\r\n";
constexpr const char* kAdaWrong = "Authorization: Basic YWRhOndyb25n\r\n";
constexpr const char* kBobSecret = "Authorization: Basic Ym9iOnNlY3JldA==\r\n";

SecuritySource Always(const WebSettings& settings) {
  auto security = std::make_shared<WebSecurity>();
  security->settings = settings;
  return [security] { return security; };
}

class HttpServerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string error;
    server_ = HttpServer::Start({"127.0.0.1:0"}, OnePage("fixed "), TwoActions(later_), nullptr, &error);
    ASSERT_NE(server_, nullptr) << error;
    const std::string address = server_->addresses().front();
    port_ = static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
  }

  int Connect() const {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port_);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
    return fd;
  }

  // A connection on which `request` has been sent.
  int Send(const std::string& request) const {
    const int fd = Connect();
    EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
    return fd;
  }
  // What the server sends before it closes the connection.
  static std::string Rest(int fd) {
    std::string answer;
    char buffer[4096];
    for (ssize_t n = 0; (n = read(fd, buffer, sizeof buffer)) > 0;) {
      answer.append(buffer, static_cast<std::size_t>(n));
    }
    close(fd);
    return answer;
  }
  std::string Ask(const std::string& request) const { return Rest(Send(request)); }
  // On a connection of its own.
  std::string Get(const std::string& headers) const {
    return Ask("GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + headers + "\r\n");
  }

  // A connection that waits for the reply that the test gives.
  int AskForLater() const {
    const int fd = Send("POST /later HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    for (int i = 0; i < 500 && !later_->asked; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_TRUE(later_->asked);
    return fd;
  }

  const std::shared_ptr<Later> later_ = std::make_shared<Later>();
  std::unique_ptr<HttpServer> server_;
  std::uint16_t port_ = 0;
};

TEST_F(HttpServerTest, GetAnswersWithTheBodyAndItsLivePart) {
  const std::string answer = Get("");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Type: text/plain\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Length: 10\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\nfixed live"));
}

TEST_F(HttpServerTest, HeadAnswersWithTheSameHeadersAndNoBody) {
  const std::string answer = Ask("HEAD /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Length: 10\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\n"));
}

TEST_F(HttpServerTest, GzipIsSentOnlyWhereTheClientTakesIt) {
  for (const char* taken : {"gzip", "deflate, gzip", "GZIP", "gzip;q=0.5", "br;q=1, gzip ; q=1.0"}) {
    EXPECT_THAT(Get("Accept-Encoding: " + std::string(taken) + "\r\n"),
                HasSubstr("Content-Encoding: gzip\r\n")) << taken;
  }
  for (const char* refused : {"gzip;q=0", "gzip; q=0.000", "identity", "deflate", "gzipped", "*"}) {
    EXPECT_THAT(Get("Accept-Encoding: " + std::string(refused) + "\r\n"),
                Not(HasSubstr("Content-Encoding"))) << refused;
  }
}

TEST_F(HttpServerTest, OtherPathsAndMethodsAreRefused) {
  EXPECT_THAT(Ask("GET /other HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(Ask("GET /page/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), StartsWith("HTTP/1.1 404 "));
  const std::string answer =
      Ask("POST /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 405 "));
  EXPECT_THAT(answer, HasSubstr("\r\nAllow: GET, HEAD\r\n"));
}

// Keep-alive and pipelining: RFC 9112, section 9.3.

TEST_F(HttpServerTest, AConnectionIsKeptUntilOneSideEndsIt) {
  const std::string request = "GET /page HTTP/1.1\r\nHost: x\r\n\r\n";
  const std::string answers =
      Ask(request + request + "GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  std::size_t count = 0;
  for (std::size_t at = 0; (at = answers.find("fixed live", at)) != std::string::npos; ++at) ++count;
  EXPECT_EQ(count, 3U) << answers;
  EXPECT_THAT(Ask("GET /page HTTP/1.0\r\n\r\n"), HasSubstr("Connection: close\r\n"));
  EXPECT_THAT(Ask("GET /page HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
                  "GET /page HTTP/1.0\r\n\r\n"),
              HasSubstr("Connection: keep-alive\r\n"));
}

// What is no request gets a status that says so, and the end of its connection.

TEST_F(HttpServerTest, ARequestThatBreaksTheRulesIsRefused) {
  struct Case {
    std::string request;
    int status;
  };
  const std::string get = "GET /page HTTP/1.1\r\nHost: x\r\n";
  const Case cases[] = {
      {"GET /page HTTP/1.1\r\n\r\n", 400},                          // no Host
      {get + "Host: y\r\n\r\n", 400},                               // two
      {get + "A b: c\r\n\r\n", 400},                                // a space in a name
      {get + "a: b\x01\r\n\r\n", 400},                              // a control character
      {"GET page HTTP/1.1\r\nHost: x\r\n\r\n", 400},                // no path
      {"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400},                // no percent-encoding
      {"GET /% HTTP/1.1\r\nHost: x\r\n\r\n", 400},                  // nor this
      {"GET\r\n\r\n", 400},
      {"GET /page HTTP/2.0\r\nHost: x\r\n\r\n", 505},
      {get + "Content-Length: -1\r\n\r\n", 400},
      {get + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
      {get + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {get + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400},
      {get + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
      {get + "Long: " + std::string(100'000, 'a') + "\r\n\r\n", 431},
      {"GET /" + std::string(100'000, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n", 431},
      {get + "Content-Length: 100000\r\n\r\n" + std::string(100'000, 'a'), 413},
  };
  for (const Case& each : cases) {
    const std::string answer = Ask(each.request);
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 " + std::to_string(each.status) + " "))
        << each.request.substr(0, 100);
    EXPECT_THAT(Get(""), EndsWith("fixed live")) << "and it harms nobody else";
  }
}

TEST_F(HttpServerTest, APathIsComparedAsItIsMeant) {
  for (const char* same : {"/page?x=1", "/%70age", "/pag%65?a%zz", "http://x/page", "HTTP://y:1/page?"}) {
    EXPECT_THAT(Ask(std::string("GET ") + same + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
                StartsWith("HTTP/1.1 200 ")) << same;
  }
  for (const char* other : {"//page", "/page/", "/./page", "/x/../page", "/page%00", "/PAGE", "/",
                            "http://x", "*", "/page%2f"}) {
    EXPECT_THAT(Ask(std::string("GET ") + other + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
                StartsWith("HTTP/1.1 404 ")) << other;
  }
}

// Actions.

TEST_F(HttpServerTest, AnActionIsForPostAndPutAndMayAnswerFromAnotherThread) {
  const std::string rest = " /action HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab";
  for (const char* method : {"POST", "PUT"}) {
    EXPECT_THAT(Ask(method + rest), EndsWith("\r\n\r\nacted\n")) << method;
  }
  for (const char* method : {"GET", "DELETE", "TRACE", "BREW"}) {
    const std::string answer = Ask(method + rest);
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 405 ")) << method;
    EXPECT_THAT(answer, HasSubstr("\r\nAllow: POST, PUT\r\n")) << method;
  }
}

TEST_F(HttpServerTest, WhoWaitsForAnAnswerKeepsItsPlaceWhenOthersCrowdIn) {
  const int waiting = AskForLater();
  std::vector<int> crowd;
  for (std::size_t i = 0; i < kMaxConnections + 20; ++i) crowd.push_back(Connect());
  EXPECT_THAT(Get(""), EndsWith("fixed live"));  // so the crowd has been accepted
  later_->reply({200, "at last\n"});
  EXPECT_THAT(Rest(waiting), EndsWith("at last\n"));
  for (const int fd : crowd) close(fd);
}

TEST_F(HttpServerTest, AnExpectedContinueComesBeforeTheBodyIsRead) {
  EXPECT_THAT(Ask("POST /action HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n"
                  "Content-Length: 2\r\n\r\nab"),
              StartsWith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
}

// What a web configuration asks.

TEST_F(HttpServerTest, UsersHaveToSayWhoTheyAre) {
  WebSettings settings;
  settings.users = {{"ada", kHash}};
  server_->Secure(Always(settings));
  for (const char* refused : {"", kAdaWrong, kBobSecret, "Authorization: Bearer x\r\n",
                              "Authorization: Basic ???\r\n", "Authorization: Basic YWRh\r\n"}) {
    const std::string answer = Get(std::string(refused) );
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 401 ")) << refused;
    EXPECT_THAT(answer, HasSubstr("\r\nWWW-Authenticate: Basic realm=")) << refused;
    EXPECT_THAT(answer, Not(HasSubstr("live"))) << refused;
  }
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(Get(std::string(kAdaSecret) ), EndsWith("fixed live"));
  }
  settings.users = {{"bob", kHash}};
  server_->Secure(Always(settings));
  EXPECT_THAT(Get(std::string(kAdaSecret) ), StartsWith("HTTP/1.1 401 "))
      << "who is no user any more is not remembered";
}

TEST_F(HttpServerTest, ConfiguredHeadersStandInEveryAnswerAndOnce) {
  WebSettings settings;
  settings.headers = {{"X-Frame-Options", "deny"}, {"X-Content-Type-Options", "nosniff"}};
  server_->Secure(Always(settings));
  for (const char* path : {"/page", "/other"}) {
    const std::string answer =
        Ask(std::string("GET ") + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    EXPECT_THAT(answer, HasSubstr("\r\nX-Frame-Options: deny\r\n")) << path;
    const std::size_t first = answer.find("nosniff");
    EXPECT_NE(first, std::string::npos) << path;
    EXPECT_EQ(answer.find("nosniff", first + 1), std::string::npos) << path;
  }
}

TEST_F(HttpServerTest, ARateLimitLetsABurstPass) {
  WebSettings settings;
  settings.rate_limit = RateLimit{std::chrono::hours(1), 3};
  server_->Secure(Always(settings));
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(Get(""), StartsWith("HTTP/1.1 200 ")) << i;
  }
  EXPECT_THAT(Get(""), StartsWith("HTTP/1.1 429 "));
}

TEST_F(HttpServerTest, PublishedPagesAreSeenByTheNextRequest) {
  server_->Publish(OnePage("other "));
  EXPECT_THAT(Get(""), EndsWith("other live"));
}

TEST_F(HttpServerTest, PublishingUnderLoadLosesNoRequest) {
  std::atomic<bool> done = false;
  std::thread publisher([&] {
    while (!done) server_->Publish(OnePage("fixed "));
  });
  for (int i = 0; i < 500; ++i) EXPECT_THAT(Get(""), EndsWith("fixed live"));
  done = true;
  publisher.join();
}

TEST_F(HttpServerTest, StopDoesNotWaitForSilentPeers) {
  const std::vector<int> silent = {Connect(), Connect()};
  EXPECT_THAT(Get(""), EndsWith("fixed live"));  // so the silent ones have been accepted
  const auto begin = std::chrono::steady_clock::now();
  server_->Stop(std::chrono::milliseconds(300));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
  for (const int fd : silent) close(fd);
  server_.reset();
}

TEST_F(HttpServerTest, StopLetsAnAnswerThatHasBegunEnd) {
  const std::string long_text(16 << 20, 'x');  // more than the kernel holds for a peer that does not read
  server_->Publish(OnePage(long_text));
  const int idle = Connect();
  const int slow = Send("GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  char first;
  ASSERT_EQ(recv(slow, &first, 1, MSG_PEEK), 1);
  const auto begin = std::chrono::steady_clock::now();
  std::thread stopping([this] { server_->Stop(std::chrono::minutes(1)); });
  EXPECT_EQ(Rest(idle), "");  // closed, so the server is stopping
  EXPECT_TRUE(Rest(slow).ends_with("\r\n\r\n" + long_text + "live"));
  stopping.join();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

TEST(HttpServer, ABusyPortIsAnErrorThatNamesIt) {
  std::string error;
  const auto first = HttpServer::Start({"127.0.0.1:0"}, OnePage(""), {}, nullptr, &error);
  ASSERT_NE(first, nullptr) << error;
  const std::string address = first->addresses().front();
  EXPECT_EQ(HttpServer::Start({"127.0.0.1:0", address}, OnePage(""), {}, nullptr, &error), nullptr);
  EXPECT_THAT(error, HasSubstr(address));
  EXPECT_THAT(error, HasSubstr("Address already in use"));
}

}  // namespace
}  // namespace exporter
