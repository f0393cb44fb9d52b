// How a Kubernetes API server is reached, and who we are there: plain values.
//
// Credentials rotate, so a file is named and not read: the label sink reads the
// token before each request, and certificates and keys for each connection.
#ifndef EXPORTER_SINKS_KUBERNETES_API_ACCESS_H_
#define EXPORTER_SINKS_KUBERNETES_API_ACCESS_H_

#include <string>

namespace exporter {

// Something secret or PEM: either itself, or the file that holds it. Both empty: none.
struct Credential {
  std::string text;
  std::string file;  // absolute

  bool empty() const { return text.empty() && file.empty(); }
  friend bool operator==(const Credential&, const Credential&) = default;
};

struct ApiAccess {
  std::string host;  // name or address, an IPv6 one without its brackets
  std::string port;  // "6443"
  std::string
      path_prefix;  // of the server's URL, without a / at its end: "" or "/k8s/clusters/c-1"
  std::string
      server_name;  // what the certificate must be for: the host unless tls-server-name says
  bool insecure_skip_tls_verify = false;
  Credential certificate_authority;  // PEM; empty: the system's store
  Credential token;                  // bearer token; spaces around it do not count
  Credential client_certificate;     // PEM, a chain
  Credential client_key;             // PEM

  friend bool operator==(const ApiAccess&, const ApiAccess&) = default;
};

}  // namespace exporter

#endif  // EXPORTER_SINKS_KUBERNETES_API_ACCESS_H_
