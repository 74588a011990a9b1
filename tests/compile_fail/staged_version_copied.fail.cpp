// says: use of deleted function|deleted
#include "wsync/session/receiver.hpp"

wsync::StagedVersion keep(const wsync::StagedVersion& staged) { return staged; }
