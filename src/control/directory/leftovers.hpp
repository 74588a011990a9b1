// What killed processes left in a control folder and no later write would replace.
#pragma once

#include "control/directory/folder.hpp"

namespace wsync {

// Files of values that never got their names, and directories that are empty. What somebody writes at the moment is locked and
// stays. It tidies, and nobody waits for it: what can't be removed stays.
void remove_unfinished_values(const Folder& folder);
// Files of leases that never got their names. Precondition: nobody makes a lease meanwhile.
void remove_unfinished_leases(const Folder& folder);

}  // namespace wsync
