#include "exporter/sinks/http_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
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

class HttpServerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string error;
    server_ = HttpServer::Start({"127.0.0.1:0"}, OnePage("fixed "), &error);
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

  // What the server sends for `request` before it closes the connection.
  std::string Ask(const std::string& request) const {
    const int fd = Connect();
    EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
    std::string answer;
    char buffer[4096];
    for (ssize_t n = 0; (n = read(fd, buffer, sizeof buffer)) > 0;) {
      answer.append(buffer, static_cast<std::size_t>(n));
    }
    close(fd);
    return answer;
  }
  std::string Get(const std::string& headers) const {
    return Ask("GET /page HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n");
  }

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
  const std::string answer = Ask("HEAD /page HTTP/1.1\r\nHost: x\r\n\r\n");
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
  EXPECT_THAT(Ask("GET /other HTTP/1.1\r\nHost: x\r\n\r\n"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(Ask("GET /page/ HTTP/1.1\r\nHost: x\r\n\r\n"), StartsWith("HTTP/1.1 404 "));
  const std::string answer =
      Ask("POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 405 "));
  EXPECT_THAT(answer, HasSubstr("\r\nAllow: GET, HEAD\r\n"));
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

TEST(HttpServer, ABusyPortIsAnErrorThatNamesIt) {
  std::string error;
  const auto first = HttpServer::Start({"127.0.0.1:0"}, OnePage(""), &error);
  ASSERT_NE(first, nullptr) << error;
  const std::string address = first->addresses().front();
  EXPECT_EQ(HttpServer::Start({"127.0.0.1:0", address}, OnePage(""), &error), nullptr);
  EXPECT_THAT(error, HasSubstr(address));
  EXPECT_THAT(error, HasSubstr("Address already in use"));
}

}  // namespace
}  // namespace exporter
