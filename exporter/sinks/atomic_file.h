// Files that readers see whole: the old content or the new, never a part.
#ifndef EXPORTER_SINKS_ATOMIC_FILE_H_
#define EXPORTER_SINKS_ATOMIC_FILE_H_

#include <sys/types.h>

#include <string>
#include <string_view>

namespace exporter {

// Makes `content` the content of the file `path`, with the permissions `mode`
// whatever the umask is: it is written to a hidden file beside it (".NAME.XXXXXX"),
// which is flushed to the disk and renamed. False and one line in *error ("PATH:
// what failed") if that fails: then the old file stands as it was, and nothing beside
// it, except where only the last step failed, flushing the folder: then the new file
// stands, and a crash of the machine may bring back the old one.
//
// What ends the process on the way may leave the hidden file behind.
bool WriteAtomically(const std::string& path, std::string_view content, mode_t mode,
                     std::string* error);

}  // namespace exporter

#endif  // EXPORTER_SINKS_ATOMIC_FILE_H_
