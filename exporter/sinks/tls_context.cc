#include "exporter/sinks/tls_context.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "exporter/read_file.h"

namespace exporter {
namespace {

// Go's default suites up to TLS 1.2: elliptic curves, AEAD before the older ones.
constexpr const char* kDefaultCiphers = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES+SHA1";

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* owned) const {
    kFree(owned);
  }
};
using Bio = std::unique_ptr<BIO, Free<BIO_free>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Names = std::unique_ptr<GENERAL_NAMES, Free<GENERAL_NAMES_free>>;

// Thrown and caught in this file.
struct Refused {
  std::string why;
};

// What OpenSSL said last; then it is forgotten.
std::string LastError() {
  const unsigned long error = ERR_peek_last_error();
  const char* reason = ERR_reason_error_string(error);
  ERR_clear_error();
  return reason == nullptr ? "it cannot be used" : reason;
}

[[noreturn]] void Refuse(const PemSource& source, const std::string& why,
                         const std::string& expected) {
  throw Refused{source.place + ": " + (source.file.empty() ? "" : source.file + ": ") + why +
                "; expected " + expected};
}

Bio Open(const PemSource& source, const char* expected) {
  std::string text = source.text;
  if (!source.file.empty()) {
    const std::string why = ReadFile(source.file, kMaxCredentialBytes, &text);
    if (!why.empty()) Refuse(source, why, expected);
  }
  Bio bio(BIO_new(BIO_s_mem()));
  BIO_write(bio.get(), text.data(), static_cast<int>(text.size()));
  return bio;
}

// A key that asks for a password would ask at the terminal.
int NoPassword(char*, int, int, void*) { return -1; }

Certificate NextCertificate(BIO* bio) {
  return Certificate(PEM_read_bio_X509(bio, nullptr, NoPassword, nullptr));
}

void UseCertificate(SSL_CTX* context, const TlsSettings& settings) {
  constexpr const char* kExpected = "a certificate in PEM";
  const Bio certificates = Open(settings.certificate, kExpected);
  const Certificate own = NextCertificate(certificates.get());
  if (!own || SSL_CTX_use_certificate(context, own.get()) != 1) {
    Refuse(settings.certificate, LastError(), kExpected);
  }
  while (const Certificate next = NextCertificate(certificates.get())) {
    SSL_CTX_add1_chain_cert(context, next.get());
  }
  ERR_clear_error();  // the end of the text

  constexpr const char* kKeyExpected = "the certificate's private key in PEM, without a password";
  const Bio text = Open(settings.key, kKeyExpected);
  const Key key(PEM_read_bio_PrivateKey(text.get(), nullptr, NoPassword, nullptr));
  if (!key || SSL_CTX_use_PrivateKey(context, key.get()) != 1 ||
      SSL_CTX_check_private_key(context) != 1) {
    Refuse(settings.key, LastError(), kKeyExpected);
  }
}

// Whether `name`, a subjectAltName, is the text `allowed`: a DNS name, an address, an e-mail
// address or a URI, to the letter.
bool Is(const GENERAL_NAME& name, const std::string& allowed) {
  const auto text = [](const ASN1_STRING* string) {
    return std::string_view(reinterpret_cast<const char*>(ASN1_STRING_get0_data(string)),
                            static_cast<std::size_t>(ASN1_STRING_length(string)));
  };
  switch (name.type) {
    case GEN_DNS:
      return text(name.d.dNSName) == allowed;
    case GEN_EMAIL:
      return text(name.d.rfc822Name) == allowed;
    case GEN_URI:
      return text(name.d.uniformResourceIdentifier) == allowed;
    case GEN_IPADD: {
      in6_addr bytes;  // of either family
      for (const auto& [family, size] : {std::pair{AF_INET, 4}, std::pair{AF_INET6, 16}}) {
        if (inet_pton(family, allowed.c_str(), &bytes) != 1) continue;
        const std::string_view address(reinterpret_cast<const char*>(&bytes),
                                       static_cast<std::size_t>(size));
        return text(name.d.iPAddress) == address;
      }
      return false;
    }
    default:
      return false;
  }
}

bool HasOneOf(X509* certificate, const std::vector<std::string>& allowed) {
  const Names names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (std::ranges::any_of(allowed, [&](const auto& text) { return Is(*name, text); })) return true;
  }
  return false;
}

// What a client's certificate is held to; it belongs to the context.
struct ClientRules {
  bool verify;
  std::vector<std::string> allowed_sans;  // empty: any
};

int RulesIndex() {
  static const int index = SSL_CTX_get_ex_new_index(
      0, nullptr, nullptr, nullptr, [](void*, void* rules, CRYPTO_EX_DATA*, int, long, void*) {
        delete static_cast<ClientRules*>(rules);
      });
  return index;
}

// OpenSSL asks this for each certificate of the client's chain, its own (depth 0) last.
int CheckClient(int is_good, X509_STORE_CTX* store) {
  const auto* ssl = static_cast<SSL*>(
      X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  const auto* rules =
      static_cast<ClientRules*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), RulesIndex()));
  if (is_good == 0 && rules->verify) return 0;
  if (X509_STORE_CTX_get_error_depth(store) != 0 || rules->allowed_sans.empty()) return 1;
  if (HasOneOf(X509_STORE_CTX_get_current_cert(store), rules->allowed_sans)) return 1;
  X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
  return 0;
}

void AskClients(SSL_CTX* context, const TlsSettings& settings) {
  const ClientAuth auth = settings.client_auth;
  if (auth == ClientAuth::kNoClientCert) return;
  const bool verify = auth == ClientAuth::kVerifyClientCertIfGiven ||
                      auth == ClientAuth::kRequireAndVerifyClientCert;
  const bool require = auth == ClientAuth::kRequireAnyClientCert ||
                       auth == ClientAuth::kRequireAndVerifyClientCert;
  SSL_CTX_set_ex_data(context, RulesIndex(),
                      new ClientRules{verify, settings.client_allowed_sans});
  SSL_CTX_set_verify(context,
                     SSL_VERIFY_PEER | (require ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                     CheckClient);
  if (settings.client_ca.empty()) {
    SSL_CTX_set_default_verify_paths(context);
    return;
  }
  constexpr const char* kExpected = "certificates in PEM";
  const Bio certificates = Open(settings.client_ca, kExpected);
  int count = 0;
  while (const Certificate next = NextCertificate(certificates.get())) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context), next.get());
    SSL_CTX_add_client_CA(context, next.get());
    ++count;
  }
  if (count == 0) Refuse(settings.client_ca, LastError(), kExpected);
  ERR_clear_error();  // the end of the text
}

int ToNumber(TlsVersion version) {
  switch (version) {
    case TlsVersion::k10:
      return TLS1_VERSION;
    case TlsVersion::k11:
      return TLS1_1_VERSION;
    case TlsVersion::k12:
      return TLS1_2_VERSION;
    case TlsVersion::k13:
      return TLS1_3_VERSION;
  }
  return TLS1_3_VERSION;
}

void SetCiphers(SSL_CTX* context, const TlsSettings& settings) {
  std::string older;
  std::string newest;  // of TLS 1.3, which has a list of its own
  for (const std::string& suite : settings.cipher_suites) {
    const bool is_older = suite.find("_WITH_") != std::string::npos;
    std::string& list = is_older ? older : newest;
    list += (list.empty() ? "" : ":") + (is_older ? OPENSSL_cipher_name(suite.c_str()) : suite);
  }
  TlsVersion least = settings.min_version;
  if (older.empty() && !newest.empty()) {
    if (settings.max_version < TlsVersion::k13) {
      Refuse(settings.certificate, "cipher_suites of TLS 1.3 alone, and a max_version below it",
             "a suite of TLS 1.2 as well");
    }
    least = TlsVersion::k13;
  }
  // OpenSSL's default level has no TLS before 1.2.
  if (least < TlsVersion::k12) SSL_CTX_set_security_level(context, 0);
  const bool set =
      SSL_CTX_set_min_proto_version(context, ToNumber(least)) == 1 &&
      SSL_CTX_set_max_proto_version(context, ToNumber(settings.max_version)) == 1 &&
      SSL_CTX_set_cipher_list(context, older.empty() ? kDefaultCiphers : older.c_str()) == 1 &&
      (newest.empty() || SSL_CTX_set_ciphersuites(context, newest.c_str()) == 1);
  if (!set) Refuse(settings.certificate, LastError(), "versions and cipher suites that OpenSSL has");
  if (settings.prefer_server_cipher_suites) {
    SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE);
  }
  std::string curves;
  for (const std::string& curve : settings.curves) curves += (curves.empty() ? "" : ":") + curve;
  if (!curves.empty() && SSL_CTX_set1_groups_list(context, curves.c_str()) != 1) {
    Refuse(settings.certificate, LastError(), "curves that OpenSSL has");
  }
}

// Clients that offer protocols are told that it is HTTP/1.1: RFC 7301.
int SelectProtocol(SSL*, const unsigned char** out, unsigned char* out_size,
                   const unsigned char* offered, unsigned int offered_size, void*) {
  static constexpr unsigned char kHttp11[] = "\x08http/1.1";
  unsigned char* selected = nullptr;
  if (SSL_select_next_proto(&selected, out_size, kHttp11, sizeof kHttp11 - 1, offered,
                            offered_size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_NOACK;
  }
  *out = selected;
  return SSL_TLSEXT_ERR_OK;
}

}  // namespace

TlsContext MakeTlsContext(const TlsSettings& settings, std::string* error) {
  TlsContext context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  try {
    if (!context) throw Refused{"OpenSSL: " + LastError()};
    SSL_CTX* const raw = context.get();
    SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS);  // 34 KB less for each idle connection
    SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
    // No resumption: each connection shows its certificate anew.
    SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(raw, 0);
    SSL_CTX_set_alpn_select_cb(raw, SelectProtocol, nullptr);
    SetCiphers(raw, settings);
    UseCertificate(raw, settings);
    AskClients(raw, settings);
    return context;
  } catch (const Refused& refused) {
    *error = refused.why;
    return nullptr;
  }
}

}  // namespace exporter
