// Reads the files that an operator names: configuration, credentials, our own output.
#ifndef EXPORTER_READ_FILE_H_
#define EXPORTER_READ_FILE_H_

#include <cstddef>
#include <string>

namespace exporter {

// A certificate, a key or a token, or a whole system's authorities.
inline constexpr std::size_t kMaxCredentialBytes = 1 << 20;

// Appends what the file `path` holds to *content. Empty, or why it cannot be read, which
// errno says as well: also where it is a pipe, which might never end, and where it holds
// more than `most_bytes`, of which no more is read then.
std::string ReadFile(const std::string& path, std::size_t most_bytes, std::string* content);

}  // namespace exporter

#endif  // EXPORTER_READ_FILE_H_
