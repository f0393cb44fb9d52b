// What a web configuration file asks of the HTTP server: plain values, by the names of
// https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md
#ifndef EXPORTER_SINKS_WEB_SETTINGS_H_
#define EXPORTER_SINKS_WEB_SETTINGS_H_

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace exporter {

// PEM: either itself, or the file that holds it. Both empty: none.
struct PemSource {
  std::string text;
  std::string file;
  std::string place;  // where it is asked for, for messages: "web.yml:2:14"

  bool empty() const { return text.empty() && file.empty(); }
};

// What is asked of a client's certificate: the names of Go's crypto/tls.
enum class ClientAuth {
  kNoClientCert,
  kRequestClientCert,
  kRequireAnyClientCert,
  kVerifyClientCertIfGiven,
  kRequireAndVerifyClientCert,
};

enum class TlsVersion { k10, k11, k12, k13 };

struct TlsSettings {
  PemSource certificate;  // a chain, the server's own first
  PemSource key;
  ClientAuth client_auth = ClientAuth::kNoClientCert;
  PemSource client_ca;                           // empty: the system's, where clients are verified
  std::vector<std::string> client_allowed_sans;  // one must stand in the client's certificate
  TlsVersion min_version = TlsVersion::k12;
  TlsVersion max_version = TlsVersion::k13;
  std::vector<std::string> cipher_suites;  // names of IANA; empty: OpenSSL's choice
  bool prefer_server_cipher_suites = true;
  std::vector<std::string> curves;  // names of OpenSSL, in preference order; empty: its choice
};

// A token bucket: one token each interval, at most `burst` of them.
struct RateLimit {
  std::chrono::duration<double> interval{0};  // above 0
  int burst = 1;                              // at least 1

  friend bool operator==(const RateLimit&, const RateLimit&) = default;
};

struct WebSettings {
  std::optional<TlsSettings> tls;                            // absent: plain HTTP
  std::vector<std::pair<std::string, std::string>> headers;  // of every answer
  std::map<std::string, std::string, std::less<>> users;     // name: bcrypt hash; empty: all may
  std::optional<RateLimit> rate_limit;
};

}  // namespace exporter

#endif  // EXPORTER_SINKS_WEB_SETTINGS_H_
