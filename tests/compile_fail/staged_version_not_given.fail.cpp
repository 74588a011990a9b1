// says: rvalue reference
#include "wsync/session/receiver.hpp"

// Activation consumes what was staged: a name that is used afterwards must not be left behind by accident.
wsync::Result<wsync::SyncReport> swap_in(wsync::Receiver& receiver, wsync::StagedVersion& staged) { return receiver.activate(staged); }
