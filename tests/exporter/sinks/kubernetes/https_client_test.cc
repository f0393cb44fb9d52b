#include "exporter/sinks/kubernetes/https_client.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netdb.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "tests/test_support/temporary_directory.h"

namespace {

// A name server that says nothing, while the test wants that: no other lets a test choose the moment.
struct NameServer {
  std::mutex mutex;
  std::condition_variable changed;
  bool silent = false;
  int questions = 0;

  void Hush() {
    const std::lock_guard lock(mutex);
    silent = true;
    questions = 0;
  }
  void Answer() {
    const std::lock_guard lock(mutex);
    silent = false;
    changed.notify_all();
  }
  int Questions() {
    const std::lock_guard lock(mutex);
    return questions;
  }
} name_server;

constexpr std::string_view kHost = "api.example";

}  // namespace

// The C library's, but for kHost, which is this machine.
extern "C" int getaddrinfo(const char* name, const char* service, const addrinfo* hints, addrinfo** found) {
  if (name != nullptr && name == kHost) {
    std::unique_lock lock(name_server.mutex);
    ++name_server.questions;
    name_server.changed.wait(lock, [] { return !name_server.silent; });
    name = "127.0.0.1";
  }
  static const auto real = reinterpret_cast<decltype(&getaddrinfo)>(dlsym(RTLD_NEXT, "getaddrinfo"));
  return real(name, service, hints, found);
}

namespace exporter {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class HttpsClientTest : public testing::Test {
 protected:
  HttpsClientTest() {
    access_.host = access_.server_name = kHost;
    access_.port = "1";  // where nobody listens
    access_.insecure_skip_tls_verify = true;
  }
  ~HttpsClientTest() override { name_server.Answer(); }

  HttpResponse Send() {
    HttpsClient client(access_, "test");
    return client.Send(kRequest, std::chrono::minutes(1));
  }
  // A file of that content.
  Credential File(const std::string& content) {
    folder_.Write("file", content);
    return {.file = (folder_ / "file").string()};
  }

  const HttpRequest kRequest = {.method = "GET", .target = "/", .accept = "*/*"};
  test_support::TemporaryDirectory folder_;
  ApiAccess access_;
};

TEST_F(HttpsClientTest, ANameThatIsNotFoundInTimeIsAskedForOnce) {
  name_server.Hush();
  HttpsClient client(access_, "test");
  for (int i = 0; i < 2; ++i) {
    const HttpResponse response = client.Send(kRequest, std::chrono::milliseconds(100));
    EXPECT_EQ(response.failure, ApplyFailure::kDns);
    EXPECT_EQ(response.error, "resolving: no answer in time");
  }
  name_server.Answer();
  EXPECT_THAT(client.Send(kRequest, std::chrono::minutes(1)).error, StartsWith("connecting: "));
  EXPECT_EQ(name_server.Questions(), 1);  // each holds a thread
}

TEST_F(HttpsClientTest, CancelEndsAQuestionForAName) {
  name_server.Hush();
  HttpsClient client(access_, "test");
  std::thread cancelling([&] {
    while (name_server.Questions() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    client.Cancel();
  });
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(client.Send(kRequest, std::chrono::minutes(1)).error, "cancelled");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
  cancelling.join();
}

TEST_F(HttpsClientTest, ATokenIsOneWordOfAscii) {
  for (const char* wrong : {"two words", "two\nlines", "t\xc3\xb6ken", "\x7f", "a\x01"}) {
    access_.token = File(wrong);
    const HttpResponse response = Send();
    EXPECT_EQ(response.failure, ApplyFailure::kCredentials) << wrong;
    EXPECT_THAT(response.error, StartsWith(access_.token.file + ": not one word of ASCII")) << wrong;
  }
  access_.token = File(" token\n");
  EXPECT_THAT(Send().error, StartsWith("connecting: "));
}

TEST_F(HttpsClientTest, AFileThatIsNoCertificateIsNamed) {
  access_.client_certificate = File("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  const HttpResponse response = Send();
  EXPECT_EQ(response.failure, ApplyFailure::kCredentials);
  EXPECT_THAT(response.error, StartsWith(access_.client_certificate.file + ": "));
  EXPECT_THAT(response.error, HasSubstr("; expected a client certificate in PEM"));
}

}  // namespace
}  // namespace exporter
