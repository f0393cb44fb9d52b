#include "exporter/web_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

namespace exporter {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr const char* kHash = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";

WebSettings Parse(const std::string& text) {
  const dt::Result<WebSettings> settings = ParseWebConfig(text, "etc/web.yml");
  EXPECT_TRUE(settings) << settings.error().message;
  return settings ? *settings : WebSettings{};
}

std::string ErrorOf(const std::string& text) {
  const dt::Result<WebSettings> settings = ParseWebConfig(text, "web.yml");
  return settings ? "none" : settings.error().message;
}

TEST(WebConfig, NothingAsksForNothing) {
  for (const char* text : {"", "# a comment\n", "{}", "tls_server_config:\n", "tls_server_config: {}",
                           "http_server_config: {http2: false, headers: {}}", "basic_auth_users: {}",
                           "rate_limit: {interval: 0, burst: 0}", "rate_limit: {interval: 0s}"}) {
    const WebSettings settings = Parse(text);
    EXPECT_FALSE(settings.tls) << text;
    EXPECT_THAT(settings.headers, IsEmpty()) << text;
    EXPECT_THAT(settings.users, IsEmpty()) << text;
    EXPECT_FALSE(settings.rate_limit) << text;
  }
}

TEST(WebConfig, EveryKeyOfTheFormatIsTaken) {
  const WebSettings settings = Parse(R"(
tls_server_config:
  cert_file: server.crt
  key_file: /keys/server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ../ca.pem
  client_allowed_sans: [prometheus, 192.0.2.1]
  min_version: TLS11
  max_version: TLS12
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: false
  curve_preferences: [X25519, CurveP384]
http_server_config:
  http2: false
  headers:
    Content-Security-Policy: default-src 'self'
    X-Frame-Options: sameorigin
    X-Content-Type-Options: nosniff
    X-XSS-Protection: 1
    Strict-Transport-Security: max-age=31536000; includeSubDomains
basic_auth_users:
  ada: )" + std::string(kHash) + R"(
rate_limit:
  interval: 1m30s
  burst: 5
)");
  ASSERT_TRUE(settings.tls);
  const TlsSettings& tls = *settings.tls;
  EXPECT_EQ(tls.certificate.file, "etc/server.crt") << "from the file's own folder";
  EXPECT_EQ(tls.certificate.place, "etc/web.yml:3:14");
  EXPECT_EQ(tls.key.file, "/keys/server.key");
  EXPECT_EQ(tls.client_auth, ClientAuth::kRequireAndVerifyClientCert);
  EXPECT_EQ(tls.client_ca.file, "ca.pem");
  EXPECT_THAT(tls.client_allowed_sans, ElementsAre("prometheus", "192.0.2.1"));
  EXPECT_EQ(tls.min_version, TlsVersion::k11);
  EXPECT_EQ(tls.max_version, TlsVersion::k12);
  EXPECT_THAT(tls.cipher_suites, ElementsAre("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"));
  EXPECT_FALSE(tls.prefer_server_cipher_suites);
  EXPECT_THAT(tls.curves, ElementsAre("X25519", "P-384"));
  EXPECT_THAT(settings.headers,
              ElementsAre(Pair("Content-Security-Policy", "default-src 'self'"),
                          Pair("X-Frame-Options", "sameorigin"),
                          Pair("X-Content-Type-Options", "nosniff"), Pair("X-XSS-Protection", "1"),
                          Pair("Strict-Transport-Security", "max-age=31536000; includeSubDomains")));
  EXPECT_THAT(settings.users, ElementsAre(Pair("ada", kHash)));
  ASSERT_TRUE(settings.rate_limit);
  EXPECT_EQ(settings.rate_limit->interval, std::chrono::seconds(90));
  EXPECT_EQ(settings.rate_limit->burst, 5);
}

TEST(WebConfig, DefaultsAreThoseOfTheFormat) {
  const WebSettings settings = Parse("tls_server_config: {cert: A, key: B}\n");
  ASSERT_TRUE(settings.tls);
  EXPECT_EQ(settings.tls->certificate.text, "A");
  EXPECT_EQ(settings.tls->key.text, "B");
  EXPECT_EQ(settings.tls->client_auth, ClientAuth::kNoClientCert);
  EXPECT_EQ(settings.tls->min_version, TlsVersion::k12);
  EXPECT_EQ(settings.tls->max_version, TlsVersion::k13);
  EXPECT_TRUE(settings.tls->prefer_server_cipher_suites);
}

TEST(WebConfig, DurationsAreGos) {
  using std::chrono::duration;
  for (const auto& [text, seconds] : {std::pair{"1s", 1.0}, {"100ms", 0.1}, {"1.5h", 5400.0},
                                      {"2m0.5s", 120.5}, {"250us", 250e-6}}) {
    const WebSettings settings =
        Parse("rate_limit: {interval: " + std::string(text) + ", burst: 1}\n");
    ASSERT_TRUE(settings.rate_limit) << text;
    EXPECT_DOUBLE_EQ(settings.rate_limit->interval.count(), seconds) << text;
  }
  for (const char* bad : {"1", "s", "-1s", "1d", "1 s", ".", "1e3s", "inf", "nans", "0x1s"}) {
    EXPECT_THAT(ErrorOf("rate_limit: {interval: \"" + std::string(bad) + "\", burst: 1}\n"),
                testing::HasSubstr("expected a duration such as 1s or 100ms"))
        << bad;
  }
}

// Each is refused with its place, and what was expected.
TEST(WebConfig, WhatCannotBeHonouredIsRefusedByName) {
  const std::string tls = "tls_server_config: {cert_file: c, key_file: k, ";
  const std::pair<std::string, std::string> cases[] = {
      {"- a\n", "web.yml:1:1: no mapping; expected tls_server_config: and others"},
      {"tls_server_confg: {}\n",
       "web.yml:1:1: unknown key \"tls_server_confg\"; expected perhaps \"tls_server_config\""},
      {"tls_server_config: a\n",
       "web.yml:1:20: no mapping; expected cert_file: and others"},
      {tls + "certfile: x}\n",
       "web.yml:1:48: unknown key \"certfile\"; expected perhaps \"cert_file\""},
      {"tls_server_config: {min_version: TLS12}\n",
       "web.yml:1:1: tls_server_config without a certificate; expected cert_file and key_file"},
      {"tls_server_config: {key_file: k}\n",
       "web.yml:1:1: no certificate; expected cert_file or cert"},
      {"tls_server_config: {cert_file: c}\n",
       "web.yml:1:1: no private key; expected key_file or key"},
      {tls + "cert: x}\n",
       "web.yml:1:48: cert beside the one at web.yml:1:32; expected one of them"},
      {tls + "client_auth_type: Require}\n",
       "web.yml:1:66: \"Require\" given; expected one of NoClientCert, RequestClientCert, "
       "RequireAnyClientCert, RequireClientCert, VerifyClientCertIfGiven, "
       "RequireAndVerifyClientCert"},
      {tls + "client_ca_file: ca}\n",
       "web.yml:1:1: a client CA without a client_auth_type; expected RequireAndVerifyClientCert, "
       "say"},
      {tls + "client_allowed_sans: [a]}\n",
       "web.yml:1:48: client_allowed_sans without a client_auth_type; expected "
       "RequireAndVerifyClientCert, say"},
      {tls + "min_version: TLS14}\n",
       "web.yml:1:61: \"TLS14\" given; expected one of TLS10, TLS11, TLS12, TLS13"},
      {tls + "min_version: TLS13, max_version: TLS12}\n",
       "web.yml:1:81: min_version is above max_version; expected it to be at most that"},
      {tls + "cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}\n",
       "web.yml:1:64: \"TLS_RSA_WITH_RC4_128_SHA\" given; expected a suite of Go's "
       "tls.CipherSuites()"},
      {tls + "cipher_suites: X}\n", "web.yml:1:63: no list; expected one"},
      {tls + "curve_preferences: [P256]}\n",
       "web.yml:1:68: \"P256\" given; expected one of CurveP256, CurveP384, CurveP521, X25519"},
      {tls + "prefer_server_cipher_suites: yes}\n",
       "web.yml:1:77: \"yes\" given; expected true or false"},
      {"http_server_config: {http2: true}\n",
       "web.yml:1:29: http2 is not spoken here; expected false, or no such key"},
      {"http_server_config: {headers: {Server: x}}\n",
       "web.yml:1:32: the header \"Server\" cannot be set; expected one of "
       "Content-Security-Policy, Strict-Transport-Security, X-Content-Type-Options, "
       "X-Frame-Options, X-XSS-Protection"},
      {"http_server_config: {headers: {X-Frame-Options: allow}}\n",
       "web.yml:1:49: \"allow\" given; expected deny, sameorigin"},
      {"http_server_config: {headers: {X-XSS-Protection: \"1\\r\\nSet-Cookie: a\"}}\n",
       "web.yml:1:50: a control character; expected the header's value in one line"},
      {"basic_auth_users: {ada: secret}\n",
       "web.yml:1:25: no bcrypt hash; expected $2y$ and so on, as htpasswd -nB prints it"},
      {"basic_auth_users: {\"a:b\": " + std::string(kHash) + "}\n",
       "web.yml:1:20: a user's name with a colon, which basic authentication cannot carry"},
      {"rate_limit: {interval: 1s}\n",
       "web.yml:1:13: a burst of 0 lets no request pass; expected 1 or more"},
      {"rate_limit: {interval: 1s, burst: -1}\n",
       "web.yml:1:35: \"-1\" given; expected a number of requests"},
      {"rate_limit: {every: 1s}\n",
       "web.yml:1:14: unknown key \"every\"; expected interval, burst"},
  };
  for (const auto& [text, error] : cases) EXPECT_EQ(ErrorOf(text), error) << text;
}

TEST(WebConfig, AHashOfAnotherKindIsNoBcrypt) {
  const std::string good = kHash;
  EXPECT_EQ(ErrorOf("basic_auth_users: {a: " + good + "}\n"), "none");
  for (const std::string& bad :
       {good.substr(1), good + "a", good.substr(0, 59), "$2x" + good.substr(3), "$2$" + good.substr(4),
        "$2y$03" + good.substr(6), "$2y$32" + good.substr(6), "$2y$1a" + good.substr(6),
        good.substr(0, 59) + "=", std::string("$6$salt$hash"), std::string()}) {
    EXPECT_NE(ErrorOf("basic_auth_users: {a: \"" + bad + "\"}\n"), "none") << bad;
  }
}

TEST(WebConfig, NoMessageQuotesASecret) {
  EXPECT_EQ(ErrorOf("basic_auth_users: {ada: hunter2}\n").find("hunter2"), std::string::npos);
  EXPECT_EQ(ErrorOf("tls_server_config: {cert: A, key: hunter2, key_file: k}\n").find("hunter2"),
            std::string::npos);
}

}  // namespace
}  // namespace exporter
