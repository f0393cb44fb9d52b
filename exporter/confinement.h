// Gives up what the long run does not need, so that whoever takes it over gets little:
// no core dump of tokens and keys, no new privileges, no writing and no executing of
// files but below the given directories (Landlock, where the kernel has it:
// https://docs.kernel.org/userspace-api/landlock.html).
#ifndef EXPORTER_CONFINEMENT_H_
#define EXPORTER_CONFINEMENT_H_

#include <string>
#include <vector>

namespace exporter {

// For this thread and those that it starts from now on; nothing takes it back. Below
// `writable` files can still be made, renamed and removed. Empty, or one line that says
// what the kernel did not grant.
std::string Confine(const std::vector<std::string>& writable);

}  // namespace exporter

#endif  // EXPORTER_CONFINEMENT_H_
