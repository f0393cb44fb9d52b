// A server's side of TLS: certificate, what is asked of clients, versions and ciphers.
#ifndef EXPORTER_SINKS_TLS_CONTEXT_H_
#define EXPORTER_SINKS_TLS_CONTEXT_H_

#include <memory>
#include <string>

#include "exporter/sinks/web_settings.h"

struct ssl_ctx_st;  // OpenSSL's SSL_CTX

namespace exporter {

// Immutable once made; many connections may share it.
using TlsContext = std::shared_ptr<ssl_ctx_st>;

// Reads the files that `settings` names. Null, and one line in *error that begins with the
// place of the setting, if one cannot be read or used.
TlsContext MakeTlsContext(const TlsSettings& settings, std::string* error);

}  // namespace exporter

#endif  // EXPORTER_SINKS_TLS_CONTEXT_H_
