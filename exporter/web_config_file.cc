#include "exporter/web_config_file.h"

#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "exporter/web_config.h"
#include "exporter/yaml_document.h"

namespace exporter {

WebConfigFile::Stamp WebConfigFile::StampOf(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return {errno};
  return {static_cast<long long>(info.st_dev),  static_cast<long long>(info.st_ino),
          static_cast<long long>(info.st_size), info.st_mtim.tv_sec,
          info.st_mtim.tv_nsec,                 info.st_ctim.tv_sec,
          info.st_ctim.tv_nsec};
}

dt::Result<std::shared_ptr<WebConfigFile>> WebConfigFile::Load(const std::string& file) {
  std::shared_ptr<WebConfigFile> loaded(new WebConfigFile(file));
  auto security = loaded->Read();
  if (!security) return security.error();
  loaded->security_ = std::move(security).value();
  return loaded;
}

std::shared_ptr<const WebSecurity> WebConfigFile::Current(const Log& log) {
  std::vector<Stamp> stamps;
  stamps.reserve(paths_.size());
  for (const std::string& path : paths_) stamps.push_back(StampOf(path));
  if (stamps == stamps_) return security_;
  auto security = Read();
  last_reload_successful_ = security.has_value();
  if (security) {
    security_ = std::move(security).value();
    log.Write(LogLevel::kInfo, "Read the web configuration again");
  } else {
    log.Write(LogLevel::kError, "The web configuration is wrong; the old one stays",
              {{"error", security.error().message}});
  }
  return security_;
}

// A file that changes after it was looked at, and before it is read, has another stamp the
// next time.
dt::Result<std::shared_ptr<const WebSecurity>> WebConfigFile::Read() {
  paths_ = {file_};
  stamps_ = {StampOf(file_)};
  const dt::Result<std::string> text = ReadYamlFile(file_);
  if (!text) return text.error();
  // Written in place, it is empty for a moment: read then, it would open the server to all.
  if (security_ && text->find_first_not_of(" \t\r\n") == std::string::npos) {
    return dt::Error{dt::ErrorCode::kMalformed,
                     file_ + ": is empty now; expected YAML, {} to serve plain HTTP to everybody"};
  }
  dt::Result<WebSettings> settings = ParseWebConfig(*text, file_);
  if (!settings) return settings.error();
  auto security = std::make_shared<WebSecurity>();
  security->settings = std::move(settings).value();
  if (const auto& tls = security->settings.tls) {
    for (const PemSource& source : {tls->certificate, tls->key, tls->client_ca}) {
      if (source.file.empty()) continue;
      paths_.push_back(source.file);
      stamps_.push_back(StampOf(source.file));
    }
    std::string error;
    security->tls = MakeTlsContext(*tls, &error);
    if (security->tls == nullptr) return dt::Error{dt::ErrorCode::kMalformed, error};
  }
  return std::shared_ptr<const WebSecurity>(std::move(security));
}

}  // namespace exporter
