#include "exporter/sinks/http_server.h"

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <strings.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <ctime>
#include <exception>
#include <list>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>

#include "exporter/base64.h"
#include "exporter/sinks/password_checker.h"

namespace exporter {
namespace {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace ssl = net::ssl;
using tcp = net::ip::tcp;
using Clock = std::chrono::steady_clock;
using ErrorCode = boost::system::error_code;
using Request = http::request<http::string_body>;

constexpr const char* kTextType = "text/plain; charset=utf-8";

// What a connection may still take after its last answer: until the peer has read it, and
// closed its side.
constexpr std::chrono::seconds kClosingPatience{1};
constexpr std::size_t kMaxDiscardedBytes = 1 << 20;

// What the kernel holds of answers that a peer does not read: it would grow to megabytes.
constexpr int kUnreadBytes = 64 << 10;

// Before the next try to accept, where there are no descriptors or memory left.
constexpr std::chrono::milliseconds kAcceptPause{100};

struct HostPort {
  std::string host;
  std::string port;
};

HostPort Split(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  return {address.substr(0, colon), address.substr(colon + 1)};
}

std::string_view View(beast::string_view text) { return {text.data(), text.size()}; }

std::string_view Trim(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

// Whether an Accept-Encoding names gzip with a weight other than 0: RFC 9110,
// section 12.5.3. Ranking plays no part; "*" gets the plain body.
bool TakesGzip(std::string_view accepted) {
  while (!accepted.empty()) {
    const std::string_view item = accepted.substr(0, accepted.find(','));
    accepted.remove_prefix(std::min(accepted.size(), item.size() + 1));
    const std::size_t semicolon = std::min(item.find(';'), item.size());
    if (!EqualsIgnoringCase(Trim(item.substr(0, semicolon)), "gzip")) continue;
    const std::string_view weight = Trim(item.substr(std::min(semicolon + 1, item.size())));
    return weight.find_first_of("123456789") != std::string_view::npos || weight.empty();
  }
  return false;
}

// "%6Detrics" is "metrics"; nullopt if a % is not followed by two hexadecimal digits.
std::optional<std::string> PercentDecoded(std::string_view text) {
  std::string decoded;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '%') {
      decoded += text[at];
      continue;
    }
    unsigned value = 0;
    const char* const digits = text.data() + at + 1;
    const char* const end = text.data() + std::min(at + 3, text.size());
    const auto [rest, error] = std::from_chars(digits, end, value, 16);
    if (error != std::errc() || rest != digits + 2) return std::nullopt;
    decoded += static_cast<char>(value);
    at += 2;
  }
  return decoded;
}

// The path of a request's target (RFC 9112, section 3.2); nullopt if that is none.
std::optional<std::string> PathOf(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!EqualsIgnoringCase(target.substr(0, scheme.size()), scheme)) continue;
    const std::size_t slash = target.find('/', scheme.size());
    target = slash == std::string_view::npos ? "/" : target.substr(slash);
  }
  if (target == "*") return "*";
  if (!target.starts_with('/') || target.find('#') != std::string_view::npos) return std::nullopt;
  return PercentDecoded(target.substr(0, target.find('?')));
}

// What HTTP/1.1 asks of the Host header: RFC 9112, section 3.2.
bool HasItsHost(const Request& request) {
  const auto count = request.count(http::field::host);
  return count == 1 || (count == 0 && request.version() < 11);
}

struct Login {
  std::string user;
  std::string password;
};

// RFC 7617.
std::optional<Login> LoginOf(const Request& request) {
  const std::string_view header = View(request[http::field::authorization]);
  const std::size_t space = std::min(header.find(' '), header.size());
  if (!EqualsIgnoringCase(header.substr(0, space), "Basic")) return std::nullopt;
  const auto text = FromBase64(std::string(Trim(header.substr(space))));
  const std::size_t colon = text ? text->find(':') : std::string::npos;
  if (colon == std::string::npos) return std::nullopt;
  return Login{text->substr(0, colon), text->substr(colon + 1)};
}

// The status that tells a peer what was wrong with its request; nullopt where the connection
// is what failed.
std::optional<int> StatusOf(const ErrorCode& error) {
  if (error.category() != http::make_error_code(http::error::bad_version).category() ||
      error == http::error::end_of_stream || error == http::error::partial_message) {
    return std::nullopt;
  }
  if (error == http::error::header_limit || error == http::error::buffer_overflow) return 431;
  if (error == http::error::body_limit) return 413;
  if (error == http::error::bad_version) return 505;
  return 400;
}

bool IsPlainHttp(const ErrorCode& error) {
  return error.category() == net::error::get_ssl_category() &&
         ERR_GET_REASON(static_cast<unsigned long>(error.value())) == SSL_R_HTTP_REQUEST;
}

std::string Date() {
  std::array<char, 64> date{};
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  std::strftime(date.data(), date.size(), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &utc));
  return date.data();
}

using Headers = std::vector<std::pair<std::string, std::string>>;

struct Answer {
  int status = 200;
  std::string content_type = kTextType;
  Headers headers = {};  // more of them
  BodyParts body = {};
  std::shared_ptr<const Pages> pages = nullptr;  // that body is of

  static Answer Of(int status, std::string text, Headers headers = {}) {
    return {.status = status, .headers = std::move(headers), .body = {{}, std::move(text)}};
  }
};

Answer NotAllowed(const std::string& methods) {
  return Answer::Of(405, "405 method not allowed; expected " + methods + "\n",
                    {{"Allow", methods}});
}

// The head of an answer. What `configured` says of a header counts for more than what we say.
std::string ToHead(const Answer& answer, const Headers& configured, unsigned version, bool keep) {
  const auto reason = http::obsolete_reason(static_cast<http::status>(answer.status));
  std::string head = "HTTP/1.1 " + std::to_string(answer.status) + " " + std::string(View(reason)) +
                     "\r\nDate: " + Date() + "\r\n";
  if (!keep) head += "Connection: close\r\n";
  if (keep && version < 11) head += "Connection: keep-alive\r\n";
  const auto add = [&](const std::string& name, const std::string& value) {
    head.append(name).append(": ").append(value).append("\r\n");
  };
  const auto add_ours = [&](const std::string& name, const std::string& value) {
    if (std::ranges::find(configured, name, &Headers::value_type::first) == configured.end()) {
      add(name, value);
    }
  };
  for (const auto& [name, value] : configured) add(name, value);
  add_ours("X-Content-Type-Options", "nosniff");
  for (const auto& [name, value] : answer.headers) add_ours(name, value);
  add("Content-Type", answer.content_type);
  add("Content-Length", std::to_string(answer.body.size()));
  return head + "\r\n";
}

// So many connections that descriptors are left for everything else.
std::size_t MaxConnections() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return kMaxConnections;
  return std::clamp<std::size_t>(limit.rlim_cur / 2, 8, kMaxConnections);
}

class BeastServer final : public HttpServer {
 public:
  BeastServer(Pages pages, Actions actions, SecuritySource security)
      : pages_(std::make_shared<const Pages>(std::move(pages))),
        actions_(std::move(actions)),
        security_(std::make_shared<const SecuritySource>(std::move(security))),
        mailbox_(std::make_shared<Mailbox>()) {
    mailbox_->server = this;
  }
  BeastServer(const BeastServer&) = delete;
  BeastServer& operator=(const BeastServer&) = delete;
  ~BeastServer() override { Stop(std::chrono::milliseconds(0)); }

  bool Listen(const std::vector<std::string>& addresses, std::string* error) {
    for (const std::string& address : addresses) {
      const ErrorCode failed = Open(Split(address));
      if (failed) {
        *error = "cannot listen on " + address + ": " + failed.message();
        return false;
      }
    }
    for (tcp::acceptor& acceptor : acceptors_) Spawn(Accept(acceptor));
    thread_ = std::thread([this] { Run(); });
    return true;
  }

  std::vector<std::string> addresses() const override { return addresses_; }

  void Publish(Pages pages) override {
    auto published = std::make_shared<const Pages>(std::move(pages));
    const std::lock_guard lock(mutex_);
    pages_ = std::move(published);
  }

  void Secure(SecuritySource security) override {
    auto source = std::make_shared<const SecuritySource>(std::move(security));
    const std::lock_guard lock(mutex_);
    security_ = std::move(source);
  }

  void Stop(std::chrono::milliseconds patience) override {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard lock(mailbox_->mutex);
      mailbox_->server = nullptr;
    }
    net::post(io_, [this, patience] {
      stopping_ = true;
      ErrorCode ignored;
      for (tcp::acceptor& acceptor : acceptors_) acceptor.close(ignored);
      for (Connection* connection : connections_) {
        if (!connection->answering) connection->socket.close(ignored);
      }
      sweep_.expires_after(patience);
      sweep_.async_wait([this](const ErrorCode&) { io_.stop(); });
      StopIfDone();
    });
    thread_.join();
    ended_ = true;
  }

 private:
  // One peer. Belongs to its coroutine.
  struct Connection {
    BeastServer& server;
    tcp::socket socket;
    // When it is closed. It may be swept before its coroutine has begun.
    Clock::time_point deadline = Clock::now() + kRequestPatience;
    bool answering = false;           // a request has come, and its answer is not sent yet
    std::list<Connection*>::iterator place;

    Connection(BeastServer& its_server, tcp::socket its_socket)
        : server(its_server),
          socket(std::move(its_socket)),
          place(its_server.connections_.insert(its_server.connections_.end(), this)) {}
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() {
      server.connections_.erase(place);
      server.StopIfDone();
    }

    // It is closed unless something comes of it in time.
    void Await(Clock::duration patience, bool is_answering) {
      answering = is_answering;
      deadline = Clock::now() + patience;
      server.connections_.splice(server.connections_.end(), server.connections_, place);
      server.SweepAt(deadline);
    }
  };

  // Where replies from other threads come in, as long as the server is there.
  struct Mailbox {
    std::mutex mutex;
    BeastServer* server = nullptr;

    void Send(std::uint64_t id, HttpReply reply) {
      const std::lock_guard lock(mutex);
      if (server == nullptr) return;
      net::post(server->io_, [server = server, id, reply = std::move(reply)]() mutable {
        server->Arrive(id, std::move(reply));
      });
    }
  };
  struct Pending {
    net::steady_timer* arrived;
    HttpReply reply;
  };

  static auto Into(ErrorCode& error) { return net::redirect_error(net::use_awaitable, error); }

  void Spawn(net::awaitable<void> coroutine) {
    net::co_spawn(io_, std::move(coroutine), [](const std::exception_ptr&) {});
  }

  void Run() {
    for (;;) {
      try {
        io_.run();
        return;
      } catch (const std::exception&) {
        // No memory for a new connection, say. The others go on.
      }
    }
  }

  ErrorCode Open(const HostPort& at) {
    ErrorCode error;
    tcp::endpoint endpoint(tcp::v6(), static_cast<unsigned short>(std::stoi(at.port)));
    if (!at.host.empty()) {
      std::string host = at.host;
      if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
      const auto found =
          tcp::resolver(io_).resolve(host, at.port, tcp::resolver::numeric_service, error);
      if (error) return error;
      endpoint = *found.begin();
      for (const auto& entry : found) {  // an IPv4 one first, as Go does
        if (entry.endpoint().address().is_v4()) endpoint = entry;
      }
    }
    tcp::acceptor acceptor(io_);
    acceptor.open(endpoint.protocol(), error);
    if (error == net::error::address_family_not_supported && at.host.empty()) {
      endpoint = tcp::endpoint(tcp::v4(), endpoint.port());
      acceptor.open(endpoint.protocol(), error);
    }
    if (error) return error;
    acceptor.set_option(net::socket_base::reuse_address(true), error);
    // Its connections inherit these.
    acceptor.set_option(tcp::no_delay(true), error);
    acceptor.set_option(net::socket_base::send_buffer_size(kUnreadBytes), error);
    if (endpoint.address().is_v6()) acceptor.set_option(net::ip::v6_only(!at.host.empty()), error);
    // Or Asio would wait for the next connection, and all others with it.
    acceptor.set_option(net::socket_base::enable_connection_aborted(true), error);
    acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(kBacklog, error);
    if (error || acceptor.non_blocking(true, error)) return error;
    const std::string host = at.host.empty() ? (endpoint.address().is_v6() ? "[::]" : "0.0.0.0")
                                             : at.host;
    addresses_.push_back(host + ":" + std::to_string(acceptor.local_endpoint().port()));
    acceptors_.push_back(std::move(acceptor));
    return {};
  }

  static bool IsAwaited(tcp::acceptor& acceptor) {
    pollfd listening{acceptor.native_handle(), POLLIN, 0};
    return poll(&listening, 1, 0) > 0;
  }

  // All that have come, each time some have: one at a time, newcomers would wait for a turn of
  // every busy connection.
  net::awaitable<void> Accept(tcp::acceptor& acceptor) {
    const std::size_t most = MaxConnections();
    ErrorCode error;
    while (acceptor.is_open()) {
      co_await acceptor.async_wait(tcp::acceptor::wait_read, Into(error));
      while (!error) {
        tcp::socket socket = acceptor.accept(error);
        if (error == net::error::connection_aborted) {
          error.clear();
          continue;
        }
        // Linux takes a descriptor before it looks whether somebody waits, and says what it lacks.
        if (error && !IsAwaited(acceptor)) error = net::error::would_block;
        const bool is_short = error && error != net::error::would_block;
        if (is_short || (!error && connections_.size() >= most)) CloseLongestIdle();
        if (!error) Begin(std::move(socket));
      }
      if (error == net::error::would_block) continue;
      net::steady_timer pause(io_, kAcceptPause);
      co_await pause.async_wait(Into(error));
    }
  }

  // What ends by an exception (no memory) is this one connection.
  void Begin(tcp::socket socket) {
    try {
      Spawn(Serve(std::make_unique<Connection>(*this, std::move(socket))));
    } catch (const std::exception&) {
      CloseLongestIdle();
    }
  }

  net::awaitable<void> Serve(std::unique_ptr<Connection> owned) {
    Connection& connection = *owned;
    connection.Await(kRequestPatience, false);
    const std::shared_ptr<const WebSecurity> security = Security();
    if (security == nullptr || security->tls == nullptr) {
      co_await Converse(connection.socket, connection);
      co_return;
    }
    SSL_CTX_up_ref(security->tls.get());
    ssl::context context(security->tls.get());
    ssl::stream<tcp::socket&> stream(connection.socket, context);
    ErrorCode error;
    co_await stream.async_handshake(ssl::stream_base::server, Into(error));
    if (IsPlainHttp(error)) {
      const Answer answer = Answer::Of(400, "Client sent an HTTP request to an HTTPS server.\n");
      co_await Write(connection.socket, answer, ToHead(answer, {}, 11, false), true, error);
      co_await Discard(connection);
    }
    if (error) co_return;
    co_await Converse(stream, connection);
    connection.Await(kClosingPatience, false);
    co_await stream.async_shutdown(Into(error));
  }

  // Requests and answers in turn.
  template <typename Stream>
  net::awaitable<void> Converse(Stream& stream, Connection& connection) {
    beast::flat_buffer buffer(kMaxRequestHeadBytes + kMaxRequestBodyBytes);
    for (bool keep = true; keep && !stopping_;) {
      http::request_parser<http::string_body> parser;
      parser.header_limit(kMaxRequestHeadBytes);
      parser.body_limit(kMaxRequestBodyBytes);
      ErrorCode error;
      co_await http::async_read_header(stream, buffer, parser, Into(error));
      connection.Await(kAnswerPatience, true);
      if (!error && !parser.is_done() && parser.get().count(http::field::expect) != 0) {
        constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
        co_await net::async_write(stream, net::buffer(kContinue), Into(error));
      }
      if (!error && !parser.is_done()) co_await http::async_read(stream, buffer, parser, Into(error));
      const Request& request = parser.get();
      const std::shared_ptr<const WebSecurity> security = Security();
      const WebSettings& settings = security ? security->settings : kOpen;
      Answer answer;
      if (!error) {
        answer = co_await ToAnswer(request, settings, connection);
      } else if (const std::optional<int> status = StatusOf(error)) {
        const auto reason = http::obsolete_reason(static_cast<http::status>(*status));
        answer = Answer::Of(*status, std::to_string(*status) + " " + std::string(View(reason)) + "\n");
      } else {
        co_return;
      }
      const bool is_broken = error || answer.status == 400;
      keep = !is_broken && request.keep_alive();
      const bool has_body = request.method() != http::verb::head;
      const std::string head = ToHead(answer, settings.headers, request.version(), keep);
      co_await Write(stream, answer, head, has_body, error);
      if (error) co_return;
      if (is_broken) co_await Discard(connection);
      connection.Await(kIdlePatience, false);
    }
  }

  template <typename Stream>
  static net::awaitable<void> Write(Stream& stream, const Answer& answer, const std::string& head,
                                    bool has_body, ErrorCode& error) {
    if constexpr (std::is_same_v<Stream, tcp::socket>) {
      std::array<net::const_buffer, 3> parts = {net::buffer(head)};
      if (has_body) {
        parts[1] = net::buffer(answer.body.prepared);
        parts[2] = net::buffer(answer.body.made);
      }
      co_await net::async_write(stream, parts, Into(error));
    } else {
      // In one piece, or each part would be a record of its own.
      std::string all = head;
      if (has_body) all.append(answer.body.prepared).append(answer.body.made);
      co_await net::async_write(stream, net::buffer(all), Into(error));
    }
  }

  // Until the peer has read our last answer: closing with its bytes unread would reset it.
  static net::awaitable<void> Discard(Connection& connection) {
    connection.Await(kClosingPatience, false);
    ErrorCode error;
    connection.socket.shutdown(tcp::socket::shutdown_send, error);
    std::array<char, 4096> bytes;
    for (std::size_t sum = 0; !error && sum < kMaxDiscardedBytes;) {
      sum += co_await connection.socket.async_read_some(net::buffer(bytes), Into(error));
    }
  }

  net::awaitable<Answer> ToAnswer(const Request& request, const WebSettings& settings,
                                  Connection& connection) {
    if (settings.rate_limit && !TakeToken(*settings.rate_limit)) {
      co_return Answer::Of(429, "429 too many requests\n");
    }
    const std::optional<std::string> path = PathOf(View(request.target()));
    if (!path || !HasItsHost(request)) co_return Answer::Of(400, "400 bad request\n");
    if (!settings.users.empty()) {
      const HttpReply reply = co_await CheckLogin(request, settings, connection);
      if (reply.status == 401) {
        co_return Answer::Of(401, reply.text,
                             {{"WWW-Authenticate", "Basic realm=\"devicetree-exporter\""}});
      }
      if (reply.status != 200) co_return Answer::Of(reply.status, reply.text);
    }
    const auto action = actions_.find(*path);
    if (action == actions_.end()) co_return FromPages(request, *path);
    if (request.method() != http::verb::post && request.method() != http::verb::put) {
      co_return NotAllowed("POST, PUT");
    }
    HttpReply reply = co_await Await(action->second);
    co_return Answer::Of(reply.status, std::move(reply.text));
  }

  Answer FromPages(const Request& request, const std::string& path) const {
    const std::shared_ptr<const Pages> pages = CurrentPages();
    const auto found = pages->find(path);
    if (found == pages->end()) return Answer::Of(404, "404 page not found\n");
    if (request.method() != http::verb::get && request.method() != http::verb::head) {
      return NotAllowed("GET, HEAD");
    }
    const Page& page = found->second;
    Answer answer{.content_type = page.content_type, .headers = page.headers, .pages = pages};
    answer.headers.emplace_back("Vary", "Accept-Encoding");
    std::string live = page.live ? page.live() : "";
    if (TakesGzip(View(request[http::field::accept_encoding]))) {
      answer.headers.emplace_back("Content-Encoding", "gzip");
      answer.body = page.body.Gzip(live);
    } else {
      answer.body = page.body.Plain(std::move(live));
    }
    return answer;
  }

  // 200, or why not.
  net::awaitable<HttpReply> CheckLogin(const Request& request, const WebSettings& settings,
                                       Connection& connection) {
    const HttpReply wrong{401, "401 unauthorized\n"};
    const std::optional<Login> login = LoginOf(request);
    if (!login) co_return wrong;
    ErrorCode error;
    const std::string peer = connection.socket.remote_endpoint(error).address().to_string();
    co_return co_await Await([&](const std::function<void(HttpReply)>& reply) {
      passwords_.Check(peer, login->user, login->password, settings.users,
                       [reply, wrong](Verdict verdict) {
                         if (verdict == Verdict::kWrong) return reply(wrong);
                         if (verdict == Verdict::kRight) return reply({200, ""});
                         reply({503, "503 too many password checks under way\n"});
                       });
    });
  }

  // The reply that `run` gets from elsewhere.
  net::awaitable<HttpReply> Await(const Action& run) {
    net::steady_timer arrived(io_, Clock::time_point::max());
    Pending pending{&arrived, {500, "500 internal server error\n"}};
    const std::uint64_t id = ++last_id_;
    pending_.emplace(id, &pending);
    run([mailbox = mailbox_, id](HttpReply reply) { mailbox->Send(id, std::move(reply)); });
    ErrorCode error;
    co_await arrived.async_wait(Into(error));
    pending_.erase(id);
    co_return std::move(pending.reply);
  }

  void Arrive(std::uint64_t id, HttpReply reply) {
    const auto pending = pending_.find(id);
    if (pending == pending_.end()) return;
    pending->second->reply = std::move(reply);
    pending->second->arrived->cancel();
  }

  bool TakeToken(const RateLimit& limit) {
    const Clock::time_point now = Clock::now();
    if (limit != limit_) {
      limit_ = limit;
      tokens_ = limit.burst;
    } else {
      const std::chrono::duration<double> passed = now - counted_at_;
      tokens_ = std::min<double>(limit.burst, tokens_ + passed / limit.interval);
    }
    counted_at_ = now;
    if (tokens_ < 1) return false;
    tokens_ -= 1;
    return true;
  }

  // Ends the connections whose time is over, at the earliest deadline of all. One timer, which
  // most of the time is set already: a scrape that comes and goes costs no system call here.
  void SweepAt(Clock::time_point deadline) {
    if (stopping_ || (next_sweep_ && *next_sweep_ <= deadline)) return;
    next_sweep_ = deadline;
    sweep_.expires_at(deadline);
    sweep_.async_wait([this](const ErrorCode& error) {
      if (!error) Sweep();
    });
  }

  void Sweep() {
    next_sweep_.reset();
    const Clock::time_point now = Clock::now();
    std::optional<Clock::time_point> next;
    ErrorCode ignored;
    for (Connection* connection : connections_) {
      if (connection->deadline <= now) {
        connection->socket.close(ignored);
      } else if (!next || connection->deadline < *next) {
        next = connection->deadline;
      }
    }
    if (next) SweepAt(*next);
  }

  // Or, where all are being answered, the one that has waited longest for that.
  void CloseLongestIdle() {
    ErrorCode ignored;
    for (const bool even_answering : {false, true}) {
      for (Connection* connection : connections_) {
        if (!connection->socket.is_open() || (connection->answering && !even_answering)) continue;
        connection->socket.close(ignored);
        return;
      }
    }
  }

  void StopIfDone() {
    if (stopping_ && !ended_ && connections_.empty()) io_.stop();
  }

  std::shared_ptr<const Pages> CurrentPages() const {
    const std::lock_guard lock(mutex_);
    return pages_;
  }

  std::shared_ptr<const WebSecurity> Security() const {
    std::shared_ptr<const SecuritySource> source;
    {
      const std::lock_guard lock(mutex_);
      source = security_;
    }
    return *source ? (*source)() : nullptr;
  }

  static constexpr int kBacklog = 1024;
  static inline const WebSettings kOpen = {};  // plain HTTP for everybody

  mutable std::mutex mutex_;  // of pages_ and security_
  std::shared_ptr<const Pages> pages_;
  const Actions actions_;
  std::shared_ptr<const SecuritySource> security_;
  const std::shared_ptr<Mailbox> mailbox_;
  std::vector<std::string> addresses_;

  // The rest belongs to the server's thread. Coroutines live in io_, so it goes before what
  // they use.
  bool stopping_ = false;
  bool ended_ = false;
  PasswordChecker passwords_;
  std::optional<RateLimit> limit_;
  double tokens_ = 0;
  Clock::time_point counted_at_;
  std::uint64_t last_id_ = 0;
  std::map<std::uint64_t, Pending*> pending_;
  std::list<Connection*> connections_;  // the one that has waited longest first
  std::optional<Clock::time_point> next_sweep_;
  net::io_context io_{1};
  net::steady_timer sweep_{io_};
  std::list<tcp::acceptor> acceptors_;
  std::thread thread_;
};

}  // namespace

bool IsListenAddress(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos) return false;
  const HostPort at = Split(address);
  if (at.port.empty() || at.port.size() > 5 ||
      at.port.find_first_not_of("0123456789") != std::string::npos || std::stoi(at.port) > 65535) {
    return false;
  }
  if (!at.host.empty() && at.host.find_first_not_of("0123456789.") == std::string::npos) {
    in_addr parsed{};
    return inet_pton(AF_INET, at.host.c_str(), &parsed) == 1;
  }
  if (!at.host.starts_with('[')) {
    return at.host.find_first_not_of(
               "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") ==
           std::string::npos;
  }
  in6_addr parsed{};
  return at.host.ends_with(']') &&
         inet_pton(AF_INET6, at.host.substr(1, at.host.size() - 2).c_str(), &parsed) == 1;
}

std::unique_ptr<HttpServer> HttpServer::Start(const std::vector<std::string>& addresses,
                                              Pages pages, Actions actions, SecuritySource security,
                                              std::string* error) {
  auto server =
      std::make_unique<BeastServer>(std::move(pages), std::move(actions), std::move(security));
  if (!server->Listen(addresses, error)) return nullptr;
  return server;
}

}  // namespace exporter
