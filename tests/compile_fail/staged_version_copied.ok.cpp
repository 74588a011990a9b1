#include "wsync/session/receiver.hpp"

wsync::StagedVersion keep(wsync::StagedVersion&& staged) { return std::move(staged); }
