// Which nodes of a Tree a person means by a name, a path, an alias or a glob.
#ifndef DT_NODE_SELECTOR_H_
#define DT_NODE_SELECTOR_H_

#include <string>
#include <string_view>
#include <vector>

#include "dt/tree.h"

namespace dt {

// True for nodes below /aliases, /chosen, /reserved-memory, /__symbols__,
// /__fixups__ and /__local_fixups__: they describe no hardware, though some
// are called like it (a memory region "gpu@80000000" on 37 real boards).
bool IsBelowBookkeeping(const Tree& tree, const Node& node);

// The nodes that `pattern` selects, in bytewise order of path. A pattern is
//   gpu           nodes called gpu, or gpu plus digits, with or without a unit
//                 address, that have a compatible and are no bookkeeping
//   gpu@57000000  the same, with exactly this unit address
//   /soc/gpu@0    the node at this path
//   serial0       also the node that this alias names
// `*` and `?` match as in a shell: in a path they do not match '/'.
std::vector<const Node*> SelectNodes(const Tree& tree, std::string_view pattern);

}  // namespace dt

#endif  // DT_NODE_SELECTOR_H_
