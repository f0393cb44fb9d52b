#include "exporter/sinks/kubernetes/https_client.h"

#include <netinet/tcp.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <charconv>
#include <condition_variable>
#include <cstdint>
#include <limits>
#include <mutex>
#include <sstream>
#include <thread>
#include <utility>

#include "exporter/read_file.h"

namespace exporter {
namespace {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace ssl = net::ssl;
using tcp = net::ip::tcp;
using ErrorCode = boost::system::error_code;
using Milliseconds = std::chrono::milliseconds;

constexpr Milliseconds kCancelDelay{100};  // the longest that Cancel() waits for a look-up

constexpr const char* kToken = "a bearer token";

// A peer that is gone without a word is noticed after this long, also on an idle stream.
constexpr int kTcpIdleSeconds = 30;
constexpr int kTcpProbeSeconds = 10;
constexpr int kTcpProbes = 3;

struct Failure {
  ApplyFailure reason;
  std::string error;
};

HttpResponse Failed(ApplyFailure reason, std::string error) {
  HttpResponse response;
  response.failure = reason;
  response.error = std::move(error);
  return response;
}

// Throws a Failure if a file cannot be read.
std::string Read(const Credential& credential, const char* what) {
  if (!credential.text.empty() || credential.file.empty()) return credential.text;
  std::string text;
  std::string reason = ReadFile(credential.file, kMaxCredentialBytes, &text);
  if (reason.empty() && text.empty()) reason = "it is empty";
  if (!reason.empty()) {
    throw Failure{ApplyFailure::kCredentials,
                  credential.file + ": " + reason + "; expected " + what};
  }
  return text;
}

std::string Trimmed(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

bool IsAddress(const std::string& host) {
  ErrorCode error;
  net::ip::make_address(host, error);
  return !error;
}

// Throws a Failure if a certificate or key is not one.
ssl::context ToContext(const ApiAccess& access) {
  ssl::context context(ssl::context::tls_client);
  SSL_CTX_set_min_proto_version(context.native_handle(), TLS1_2_VERSION);
  const auto check = [](const ErrorCode& error, const Credential& source, const char* what) {
    if (!error) return;
    throw Failure{ApplyFailure::kCredentials,
                  (source.file.empty() ? "the kubeconfig" : source.file) + ": " + error.message() +
                      "; expected " + what};
  };
  ErrorCode error;
  if (access.insecure_skip_tls_verify) {
    context.set_verify_mode(ssl::verify_none);
  } else if (access.certificate_authority.empty()) {
    context.set_verify_mode(ssl::verify_peer);
    context.set_default_verify_paths(error);
  } else {
    context.set_verify_mode(ssl::verify_peer);
    constexpr const char* kWhat = "certificates in PEM";
    context.add_certificate_authority(net::buffer(Read(access.certificate_authority, kWhat)),
                                      error);
    check(error, access.certificate_authority, kWhat);
  }
  if (!access.client_certificate.empty()) {
    constexpr const char* kCertificate = "a client certificate in PEM";
    context.use_certificate_chain(net::buffer(Read(access.client_certificate, kCertificate)),
                                  error);
    check(error, access.client_certificate, kCertificate);
    constexpr const char* kKey = "the client certificate's private key in PEM";
    context.use_private_key(net::buffer(Read(access.client_key, kKey)), ssl::context::pem, error);
    check(error, access.client_key, kKey);
  }
  return context;
}

// The lines of a stream that come in pieces.
class Lines {
 public:
  // False if `on_line` wants no more. Throws a Failure if a line is too long.
  bool Take(std::string_view piece, const std::function<bool(std::string_view)>& on_line) {
    std::size_t end = rest_.size();
    rest_ += piece;
    std::size_t begin = 0;
    while ((end = rest_.find('\n', end)) != std::string::npos) {
      if (!on_line(std::string_view(rest_).substr(begin, end - begin))) return false;
      begin = ++end;
    }
    rest_.erase(0, begin);
    if (rest_.size() <= kMaxAnswerBytes) return true;
    throw Failure{ApplyFailure::kServerError, "reading: a line of the stream is too long"};
  }

 private:
  std::string rest_;
};

}  // namespace

// One io_context, run by whoever calls: each step starts one operation and runs
// until it ends, so that the code reads downwards and Cancel() can stop it. HTTP is
// none of them: Beast reads it in synchronous functions, whose stream this is.
class HttpsClient::Impl {
 public:
  Impl(ApiAccess access, std::string user_agent)
      : access_(std::move(access)), user_agent_(std::move(user_agent)) {}

  HttpResponse Send(const HttpRequest& request, Milliseconds patience) {
    return Try([&] {
      const Message message = ToMessage(request);
      Open(patience);
      Write(message);
      Parser parser;
      parser.body_limit(kMaxAnswerBytes);
      ErrorCode error;
      http::read(*this, buffer_, parser, error);
      Check("reading", error);
      if (!parser.get().keep_alive()) Close();
      return ToResponse(parser.release());
    });
  }

  HttpResponse Stream(const HttpRequest& request, Milliseconds patience, Milliseconds life,
                      const std::function<bool(std::string_view)>& on_line) {
    return Try([&] {
      Close();
      const Message message = ToMessage(request);
      Open(patience);
      Write(message);
      Parser parser;
      // Not none, which Boost 1.74 takes for the smallest limit of all.
      parser.body_limit(std::numeric_limits<std::uint64_t>::max());
      ErrorCode error;
      http::read_header(*this, buffer_, parser, error);
      Check("reading", error);
      beast::get_lowest_layer(*stream_).expires_after(life);
      Lines lines;
      std::string& body = parser.get().body();
      const bool ok = parser.get().result() == http::status::ok;
      while (!parser.is_done()) {
        http::read_some(*this, buffer_, parser, error);
        Check("reading", error);
        if (!ok) {
          if (body.size() > kMaxAnswerBytes) break;
        } else if (!lines.Take(std::exchange(body, {}), on_line)) {
          break;
        }
      }
      Close();
      return ToResponse(parser.release());
    });
  }

  void Close() { stream_.reset(); }

  void Cancel() {
    cancelled_ = true;
    io_.stop();
  }

  // Beast's SyncReadStream, which has the second one, too.
  template <typename Buffer>
  std::size_t read_some(const Buffer& buffer, ErrorCode& error) {
    return Await([&](const Done& done) { stream_->async_read_some(buffer, done); }, error);
  }
  template <typename Buffer>
  std::size_t read_some(const Buffer& buffer);

 private:
  // The host's name being looked up, on a thread of its own.
  struct Lookup {
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
    ErrorCode error;
    tcp::resolver::results_type endpoints;
  };

  using TlsStream = beast::ssl_stream<beast::tcp_stream>;
  using Message = http::request<http::string_body>;
  using Parser = http::response_parser<http::string_body>;

  // What an operation calls at its end. One type for all, or the compiler would make each
  // operation's code as often as there are callers.
  struct Done {
    ErrorCode* error;
    std::size_t* count;  // of bytes read or written

    void operator()(const ErrorCode& ended, std::size_t bytes = 0) const {
      *error = ended;
      *count = bytes;
    }
    void operator()(const ErrorCode& ended, const tcp::endpoint&) const { *error = ended; }
  };

  template <typename Steps>
  HttpResponse Try(const Steps& steps) {
    try {
      return steps();
    } catch (const Failure& failure) {
      Close();
      return Failed(failure.reason, failure.error);
    } catch (const std::exception& error) {
      Close();
      return Failed(ApplyFailure::kNetwork, error.what());
    }
  }

  // Runs one operation to its end; how many bytes it has read or written.
  template <typename Start>
  std::size_t Await(const Start& start, ErrorCode& error) {
    std::size_t count = 0;
    error = net::error::operation_aborted;
    io_.restart();
    start(Done{&error, &count});
    if (!cancelled_) io_.run();
    return count;
  }

  // Throws a Failure if that is an error.
  void Check(const char* step, const ErrorCode& error) const {
    if (!error) return;
    if (cancelled_) throw Failure{ApplyFailure::kNetwork, "cancelled"};
    throw Failure{Reason(error), std::string(step) + ": " + Message_(error)};
  }

  static ApplyFailure Reason(const ErrorCode& error) {
    if (error == beast::error::timeout) return ApplyFailure::kTimeout;
    if (error.category() == net::error::get_ssl_category()) return ApplyFailure::kTls;
    if (error.category() == http::make_error_code(http::error::bad_version).category() &&
        error != http::error::end_of_stream && error != http::error::partial_message) {
      return ApplyFailure::kServerError;
    }
    return ApplyFailure::kNetwork;
  }

  // With what the verification found, where it was that.
  std::string Message_(const ErrorCode& error) const {
    std::string text = error.message();
    if (stream_ == nullptr || error.category() != net::error::get_ssl_category()) return text;
    const long result = SSL_get_verify_result(stream_->native_handle());
    if (result != X509_V_OK) text += std::string(": ") + X509_verify_cert_error_string(result);
    return text;
  }

  Message ToMessage(const HttpRequest& request) {
    Message message(http::string_to_verb(request.method), access_.path_prefix + request.target, 11);
    const bool ipv6 = access_.host.find(':') != std::string::npos;
    const std::string host = ipv6 ? "[" + access_.host + "]" : access_.host;
    message.set(http::field::host, host + ":" + access_.port);
    message.set(http::field::user_agent, user_agent_);
    message.set(http::field::accept, request.accept);
    std::string token = Trimmed(Read(access_.token, kToken));
    if (std::ranges::any_of(token, [](unsigned char c) { return c <= ' ' || c >= 0x7f; })) {
      throw Failure{ApplyFailure::kCredentials,
                    access_.token.file + ": not one word of ASCII; expected " + kToken};
    }
    if (!token.empty()) message.set(http::field::authorization, "Bearer " + token);
    token_ = std::move(token);
    if (!request.content_type.empty()) {
      message.set(http::field::content_type, request.content_type);
      message.body() = request.body;
    }
    message.prepare_payload();
    return message;
  }

  void Open(Milliseconds patience) {
    if (stream_ == nullptr) {
      context_ = std::make_unique<ssl::context>(ToContext(access_));
      stream_ = std::make_unique<TlsStream>(io_, *context_);
      buffer_.clear();
      PrepareVerification();
      const tcp::resolver::results_type endpoints = Resolve(patience);
      beast::tcp_stream& lowest = beast::get_lowest_layer(*stream_);
      lowest.expires_after(patience);
      ErrorCode error;
      Await([&](const Done& done) { lowest.async_connect(endpoints, done); }, error);
      Check("connecting", error);
      KeepAlive(lowest.socket());
      constexpr auto kClient = ssl::stream_base::client;
      Await([&](const Done& done) { stream_->async_handshake(kClient, done); }, error);
      Check("TLS", error);
    }
    beast::get_lowest_layer(*stream_).expires_after(patience);
  }

  // https://www.rfc-editor.org/rfc/rfc9525: a certificate names the address or the host, in its
  // subjectAltName alone.
  void PrepareVerification() {
    SSL* const handle = stream_->native_handle();
    const std::string& name = access_.server_name;
    X509_VERIFY_PARAM* const parameters = SSL_get0_param(handle);
    if (IsAddress(name)) {
      X509_VERIFY_PARAM_set1_ip_asc(parameters, name.c_str());
    } else {
      X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
      X509_VERIFY_PARAM_set1_host(parameters, name.c_str(), name.size());
      SSL_set_tlsext_host_name(handle, name.c_str());
    }
  }

  tcp::resolver::results_type Resolve(Milliseconds patience) {
    ErrorCode error;
    const auto address = net::ip::make_address(access_.host, error);
    unsigned short port = 0;
    std::from_chars(access_.port.data(), access_.port.data() + access_.port.size(), port);
    if (!error) {
      return tcp::resolver::results_type::create(tcp::endpoint(address, port), access_.host,
                                                 access_.port);
    }
    // The C library's look-up can hang for minutes and cannot be stopped. So it has a
    // thread that we need not wait for, and never a second one beside it.
    if (lookup_ == nullptr) {
      const auto begun = std::make_shared<Lookup>();
      std::thread([lookup = begun, host = access_.host, service = access_.port] {
        ErrorCode failed;
        tcp::resolver::results_type found;
        try {
          net::io_context io;
          found = tcp::resolver(io).resolve(host, service, failed);
        } catch (const std::exception&) {
          failed = net::error::no_memory;
        }
        const std::lock_guard lock(lookup->mutex);
        lookup->error = failed;
        lookup->endpoints = std::move(found);
        lookup->done = true;
        lookup->changed.notify_all();
      }).detach();
      lookup_ = begun;
    }
    const std::shared_ptr<Lookup> lookup = lookup_;
    std::unique_lock lock(lookup->mutex);
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!lookup->done && !cancelled_ && std::chrono::steady_clock::now() < end) {
      lookup->changed.wait_for(lock, kCancelDelay);
    }
    if (!lookup->done && !cancelled_) {
      throw Failure{ApplyFailure::kDns, "resolving: no answer in time"};
    }
    if (cancelled_) throw Failure{ApplyFailure::kNetwork, "cancelled"};
    lookup_.reset();
    if (lookup->error) {
      throw Failure{ApplyFailure::kDns, "resolving: " + lookup->error.message()};
    }
    return lookup->endpoints;
  }

  // Failures here cost no more than patience.
  static void KeepAlive(tcp::socket& socket) {
    const auto set = [&](int level, int option, int value) {
      static_cast<void>(setsockopt(socket.native_handle(), level, option, &value, sizeof value));
    };
    set(SOL_SOCKET, SO_KEEPALIVE, 1);
    set(IPPROTO_TCP, TCP_KEEPIDLE, kTcpIdleSeconds);
    set(IPPROTO_TCP, TCP_KEEPINTVL, kTcpProbeSeconds);
    set(IPPROTO_TCP, TCP_KEEPCNT, kTcpProbes);
    set(IPPROTO_TCP, TCP_NODELAY, 1);
  }

  void Write(const Message& message) {
    std::ostringstream text;
    text << message;
    const std::string bytes = std::move(text).str();
    for (net::const_buffer rest = net::buffer(bytes); rest.size() != 0;) {
      ErrorCode error;
      rest += Await([&](const Done& done) { stream_->async_write_some(rest, done); }, error);
      Check("writing", error);
    }
  }

  HttpResponse ToResponse(http::response<http::string_body>&& message) const {
    HttpResponse response;
    response.status = static_cast<int>(message.result_int());
    response.body = std::move(message.body());
    // An error page may quote the request, and what it says goes into the log.
    for (std::size_t at = 0;
         !token_.empty() && (at = response.body.find(token_, at)) != std::string::npos;) {
      response.body.replace(at, token_.size(), "TOKEN");
    }
    const auto retry_after = message[http::field::retry_after];
    int seconds = 0;
    const char* const end = retry_after.data() + retry_after.size();
    const auto [rest, error] = std::from_chars(retry_after.data(), end, seconds);
    if (error == std::errc() && rest == end && seconds >= 0) {
      response.retry_after = std::chrono::seconds(seconds);
    }
    return response;
  }

  const ApiAccess access_;
  const std::string user_agent_;
  std::atomic<bool> cancelled_ = false;
  net::io_context io_{1};
  std::shared_ptr<Lookup> lookup_;  // null: none under way
  std::string token_;               // of the last request
  std::unique_ptr<ssl::context> context_;
  std::unique_ptr<TlsStream> stream_;  // null: no connection
  beast::flat_buffer buffer_{kMaxAnswerBytes};
};

HttpsClient::HttpsClient(ApiAccess access, std::string user_agent)
    : impl_(std::make_unique<Impl>(std::move(access), std::move(user_agent))) {}
HttpsClient::~HttpsClient() = default;

HttpResponse HttpsClient::Send(const HttpRequest& request, Milliseconds patience) {
  return impl_->Send(request, patience);
}

HttpResponse HttpsClient::Stream(const HttpRequest& request, Milliseconds patience,
                                 Milliseconds life,
                                 const std::function<bool(std::string_view)>& on_line) {
  return impl_->Stream(request, patience, life, on_line);
}

void HttpsClient::Close() { impl_->Close(); }

void HttpsClient::Cancel() { impl_->Cancel(); }

}  // namespace exporter
