// One number for what a board's devicetree says, to see that two boards differ.
#ifndef DT_FINGERPRINT_H_
#define DT_FINGERPRINT_H_

#include <cstdint>

#include "dt/tree.h"

namespace dt {

// FNV-1a (64 bit) over, for every node in the order of Tree::nodes(): path, NUL,
// own status ("okay" where it is absent, okay or ok; else its bytes without the
// final NUL), NUL, the bytes of compatible, 0x01. Equal on equal boards, also
// across readers: what firmware fills in or randomises takes no part, that is
// properties such as serial-number and reg, and at the top level the nodes
// aliases, chosen, memory, reserved-memory, __symbols__, __fixups__ and
// __local_fixups__ with all below them. It tells drift, not tampering.
std::uint64_t Fingerprint(const Tree& tree);

}  // namespace dt

#endif  // DT_FINGERPRINT_H_
