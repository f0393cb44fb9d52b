#include "exporter/web_config.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iterator>
#include <utility>

#include "exporter/config.h"
#include "exporter/printable.h"
#include "exporter/yaml_document.h"

namespace exporter {
namespace {

namespace fs = std::filesystem;
using Kind = YamlValue::Kind;

// Thrown and caught in this file.
struct Refused {
  int line;
  int column;
  std::string why;
};

[[noreturn]] void Refuse(const YamlValue& at, std::string why) {
  throw Refused{at.line, at.column, std::move(why)};
}

std::string Quoted(std::string_view text) { return "\"" + Printable(text) + "\""; }

std::string Listed(const std::vector<std::string>& words) {
  std::string list;
  for (const std::string& word : words) list += (list.empty() ? "" : ", ") + word;
  return list;
}

// The mapping that `value` is; of nothing, an empty one.
const YamlValue& Mapping(const YamlValue& value, const char* expected) {
  if (value.kind != Kind::kMapping && value.kind != Kind::kNull) {
    Refuse(value, std::string("no mapping; expected ") + expected);
  }
  return value;
}

const std::string& Text(const YamlValue& value) {
  if (value.kind != Kind::kScalar && value.kind != Kind::kNull) {
    Refuse(value, (value.kind == Kind::kSequence ? "a list" : "a mapping") +
                      std::string("; expected text"));
  }
  return value.scalar;
}

std::vector<std::string> Texts(const YamlValue& value) {
  if (value.kind != Kind::kSequence && value.kind != Kind::kNull) {
    Refuse(value, "no list; expected one");
  }
  std::vector<std::string> texts;
  texts.reserve(value.items.size());
  for (const YamlValue& item : value.items) texts.push_back(Text(item));
  return texts;
}

bool Boolean(const YamlValue& value) {
  if (value.scalar != "true" && value.scalar != "false") {
    Refuse(value, Quoted(Text(value)) + " given; expected true or false");
  }
  return value.scalar == "true";
}

[[noreturn]] void RefuseKey(const YamlValue& key, const std::vector<std::string>& known) {
  const std::string nearest = NearestWord(key.scalar, known);
  Refuse(key, "unknown key " + Quoted(key.scalar) + "; expected " +
                  (nearest.empty() ? Listed(known) : "perhaps \"" + nearest + "\""));
}

// A word and what it stands for.
template <typename T>
struct Word {
  const char* name;
  T value;
};

// The value of the word that stands at `at`.
template <typename T, std::size_t kCount>
T Choose(const YamlValue& at, const Word<T> (&words)[kCount]) {
  std::vector<std::string> known;
  for (const Word<T>& word : words) {
    if (Text(at) == word.name) return word.value;
    known.emplace_back(word.name);
  }
  Refuse(at, Quoted(at.scalar) + " given; expected one of " + Listed(known));
}

// As exporter-toolkit names them; the older name of one stands for it still.
constexpr Word<ClientAuth> kClientAuths[] = {
    {"NoClientCert", ClientAuth::kNoClientCert},
    {"RequestClientCert", ClientAuth::kRequestClientCert},
    {"RequireAnyClientCert", ClientAuth::kRequireAnyClientCert},
    {"RequireClientCert", ClientAuth::kRequireAnyClientCert},
    {"VerifyClientCertIfGiven", ClientAuth::kVerifyClientCertIfGiven},
    {"RequireAndVerifyClientCert", ClientAuth::kRequireAndVerifyClientCert},
};

constexpr Word<TlsVersion> kVersions[] = {
    {"TLS10", TlsVersion::k10},
    {"TLS11", TlsVersion::k11},
    {"TLS12", TlsVersion::k12},
    {"TLS13", TlsVersion::k13},
};

// Go's name, and OpenSSL's.
constexpr Word<const char*> kCurves[] = {
    {"CurveP256", "P-256"}, {"CurveP384", "P-384"}, {"CurveP521", "P-521"}, {"X25519", "X25519"}};

// Go's tls.CipherSuites() (Go 1.26), by the names of IANA.
constexpr std::string_view kCipherSuites[] = {
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
};

// A duration as Go writes it: "1s", "1m30s", "1.5h", "250us", "0".
std::optional<std::chrono::duration<double>> ParseGoDuration(std::string_view text) {
  constexpr Word<double> kUnits[] = {{"ns", 1e-9},      {"us", 1e-6}, {"\u00b5s", 1e-6},
                                     {"\u03bcs", 1e-6}, {"ms", 1e-3}, {"s", 1},
                                     {"m", 60},         {"h", 3600}};
  if (text == "0") return std::chrono::duration<double>(0);
  if (text.empty()) return std::nullopt;
  double seconds = 0;
  while (!text.empty()) {
    if (text.front() != '.' && (text.front() < '0' || text.front() > '9')) return std::nullopt;
    double number = 0;
    const char* const end = text.data() + text.size();
    const auto [rest, error] =
        std::from_chars(text.data(), end, number, std::chars_format::fixed);
    if (error != std::errc()) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
    const std::string_view name = text.substr(0, text.find_first_of("0123456789."));
    text.remove_prefix(name.size());
    const auto* const unit = std::ranges::find_if(kUnits, [&](const auto& u) { return u.name == name; });
    if (unit == std::end(kUnits)) return std::nullopt;
    seconds += number * unit->value;
  }
  return std::chrono::duration<double>(seconds);
}

// What X-... headers exporter-toolkit lets be set, and to what; empty: to anything.
struct Header {
  const char* name;
  std::vector<std::string> values;
};
const std::vector<Header>& KnownHeaders() {
  static const std::vector<Header> known = {
      {"Content-Security-Policy", {}},
      {"Strict-Transport-Security", {}},
      {"X-Content-Type-Options", {"nosniff"}},
      {"X-Frame-Options", {"deny", "sameorigin"}},
      {"X-XSS-Protection", {}},
  };
  return known;
}

// A bcrypt hash of the kinds that crypt(5) knows and that are sound: $2y$10$ and 53 characters.
bool IsBcrypt(std::string_view hash) {
  constexpr std::string_view kDigits = "0123456789";
  constexpr std::string_view kBase64 =
      "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  if (hash.size() != 60 || (!hash.starts_with("$2a$") && !hash.starts_with("$2b$") &&
                            !hash.starts_with("$2y$"))) {
    return false;
  }
  const std::string_view cost = hash.substr(4, 2);
  return cost.find_first_not_of(kDigits) == std::string_view::npos && cost >= "04" &&
         cost <= "31" && hash[6] == '$' &&
         hash.substr(7).find_first_not_of(kBase64) == std::string_view::npos;
}

class Reader {
 public:
  explicit Reader(std::string file)
      : file_(std::move(file)), folder_(fs::path(file_).parent_path()) {}

  WebSettings Read(const YamlValue& document) {
    WebSettings settings;
    for (const auto& [key, value] : Mapping(document, "tls_server_config: and others").entries) {
      if (key.scalar == "tls_server_config") {
        settings.tls = ReadTls(key, Mapping(value, "cert_file: and others"));
      } else if (key.scalar == "http_server_config") {
        settings.headers = ReadHttp(Mapping(value, "headers: and others"));
      } else if (key.scalar == "basic_auth_users") {
        settings.users = ReadUsers(Mapping(value, "NAME: HASH"));
      } else if (key.scalar == "rate_limit") {
        settings.rate_limit = ReadRateLimit(Mapping(value, "interval: and burst:"));
      } else {
        RefuseKey(key,
                  {"tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"});
      }
    }
    return settings;
  }

  std::string Place(int line, int column) const {
    return file_ + ":" + std::to_string(line) + ":" + std::to_string(column);
  }

 private:
  // Absent where nothing in it asks for TLS, as exporter-toolkit has it.
  std::optional<TlsSettings> ReadTls(const YamlValue& at, const YamlValue& mapping) const {
    TlsSettings tls;
    bool asked = false;
    const YamlValue* sans = nullptr;
    const YamlValue* versions = &at;
    for (const auto& [key, value] : mapping.entries) {
      const std::string& name = key.scalar;
      if (name == "cert" || name == "cert_file") {
        asked |= TakePem(key, value, name == "cert_file", &tls.certificate);
      } else if (name == "key" || name == "key_file") {
        asked |= TakePem(key, value, name == "key_file", &tls.key);
      } else if (name == "client_ca" || name == "client_ca_file") {
        asked |= TakePem(key, value, name == "client_ca_file", &tls.client_ca);
      } else if (name == "client_auth_type") {
        if (Text(value).empty()) continue;
        tls.client_auth = Choose(value, kClientAuths);
        asked = true;
      } else if (name == "client_allowed_sans") {
        tls.client_allowed_sans = Texts(value);
        sans = &key;
      } else if (name == "min_version" || name == "max_version") {
        (name == "min_version" ? tls.min_version : tls.max_version) = Choose(value, kVersions);
        versions = &value;
      } else if (name == "cipher_suites") {
        tls.cipher_suites = Texts(value);
        for (const YamlValue& item : value.items) {
          if (std::ranges::find(kCipherSuites, item.scalar) != std::end(kCipherSuites)) continue;
          Refuse(item, Quoted(item.scalar) + " given; expected a suite of Go's tls.CipherSuites()");
        }
      } else if (name == "prefer_server_cipher_suites") {
        tls.prefer_server_cipher_suites = Boolean(value);
      } else if (name == "curve_preferences") {
        Texts(value);
        for (const YamlValue& item : value.items) tls.curves.emplace_back(Choose(item, kCurves));
      } else {
        RefuseKey(key, {"cert", "cert_file", "key", "key_file", "client_ca", "client_ca_file",
                        "client_auth_type", "client_allowed_sans", "min_version", "max_version",
                        "cipher_suites", "prefer_server_cipher_suites", "curve_preferences"});
      }
    }
    if (!asked) {
      if (!mapping.entries.empty()) {
        Refuse(at, "tls_server_config without a certificate; expected cert_file and key_file");
      }
      return std::nullopt;
    }
    if (tls.certificate.empty()) Refuse(at, "no certificate; expected cert_file or cert");
    if (tls.key.empty()) Refuse(at, "no private key; expected key_file or key");
    if (tls.min_version > tls.max_version) {
      Refuse(*versions, "min_version is above max_version; expected it to be at most that");
    }
    if (tls.client_auth == ClientAuth::kNoClientCert) {
      constexpr const char* kWhy =
          " without a client_auth_type; expected RequireAndVerifyClientCert, say";
      if (!tls.client_ca.empty()) Refuse(at, std::string("a client CA") + kWhy);
      if (sans != nullptr) Refuse(*sans, std::string("client_allowed_sans") + kWhy);
    }
    return tls;
  }

  // False if nothing stands there.
  bool TakePem(const YamlValue& key, const YamlValue& value, bool is_file, PemSource* pem) const {
    if (Text(value).empty()) return false;
    if (!pem->empty()) {
      Refuse(key, key.scalar + " beside the one at " + pem->place + "; expected one of them");
    }
    if (is_file) {
      pem->file = (folder_ / value.scalar).lexically_normal();
    } else {
      pem->text = value.scalar;
    }
    pem->place = Place(value.line, value.column);
    return true;
  }

  static std::vector<std::pair<std::string, std::string>> ReadHttp(const YamlValue& mapping) {
    std::vector<std::pair<std::string, std::string>> headers;
    for (const auto& [key, value] : mapping.entries) {
      if (key.scalar == "http2") {
        if (Boolean(value)) {
          Refuse(value, "http2 is not spoken here; expected false, or no such key");
        }
      } else if (key.scalar == "headers") {
        headers = ReadHeaders(Mapping(value, "headers by name"));
      } else {
        RefuseKey(key, {"http2", "headers"});
      }
    }
    return headers;
  }

  static std::vector<std::pair<std::string, std::string>> ReadHeaders(const YamlValue& mapping) {
    std::vector<std::pair<std::string, std::string>> headers;
    for (const auto& [key, value] : mapping.entries) {
      const auto known = std::ranges::find(KnownHeaders(), key.scalar, &Header::name);
      if (known == KnownHeaders().end()) {
        std::vector<std::string> names;
        for (const Header& header : KnownHeaders()) names.emplace_back(header.name);
        Refuse(key, "the header " + Quoted(key.scalar) + " cannot be set; expected one of " +
                        Listed(names));
      }
      const std::string& text = Text(value);
      if (text.empty()) continue;  // unset if blank
      if (!known->values.empty() && std::ranges::find(known->values, text) == known->values.end()) {
        Refuse(value, Quoted(text) + " given; expected " + Listed(known->values));
      }
      if (std::ranges::any_of(text, [](unsigned char c) { return c < ' ' || c == 0x7f; })) {
        Refuse(value, "a control character; expected the header's value in one line");
      }
      headers.emplace_back(key.scalar, text);
    }
    return headers;
  }

  static std::map<std::string, std::string, std::less<>> ReadUsers(const YamlValue& mapping) {
    std::map<std::string, std::string, std::less<>> users;
    for (const auto& [key, value] : mapping.entries) {
      if (key.scalar.find(':') != std::string::npos) {
        Refuse(key, "a user's name with a colon, which basic authentication cannot carry");
      }
      if (!IsBcrypt(Text(value))) {
        Refuse(value, "no bcrypt hash; expected $2y$ and so on, as htpasswd -nB prints it");
      }
      users.emplace(key.scalar, value.scalar);
    }
    return users;
  }

  static std::optional<RateLimit> ReadRateLimit(const YamlValue& mapping) {
    RateLimit limit;
    limit.burst = 0;
    const YamlValue* burst_at = &mapping;
    for (const auto& [key, value] : mapping.entries) {
      if (key.scalar == "interval") {
        const auto interval = ParseGoDuration(Text(value));
        if (!interval) {
          Refuse(value, Quoted(value.scalar) + " given; expected a duration such as 1s or 100ms");
        }
        limit.interval = *interval;
      } else if (key.scalar == "burst") {
        const std::string& text = Text(value);
        const char* const end = text.data() + text.size();
        const auto [rest, error] = std::from_chars(text.data(), end, limit.burst);
        if (error != std::errc() || rest != end || limit.burst < 0) {
          Refuse(value, Quoted(text) + " given; expected a number of requests");
        }
        burst_at = &value;
      } else {
        RefuseKey(key, {"interval", "burst"});
      }
    }
    if (limit.interval.count() == 0) return std::nullopt;
    if (limit.burst == 0) Refuse(*burst_at, "a burst of 0 lets no request pass; expected 1 or more");
    return limit;
  }

  const std::string file_;
  const fs::path folder_;
};

}  // namespace

dt::Result<WebSettings> ParseWebConfig(std::string_view text, const std::string& file) {
  dt::Result<YamlValue> document = ParseYaml(text, file);
  if (!document) return document.error();
  Reader reader(file);
  try {
    return reader.Read(*document);
  } catch (const Refused& refused) {
    return dt::Error{dt::ErrorCode::kMalformed,
                     reader.Place(refused.line, refused.column) + ": " + refused.why};
  }
}

}  // namespace exporter
