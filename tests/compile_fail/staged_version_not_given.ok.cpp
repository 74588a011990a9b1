#include "wsync/session/receiver.hpp"

wsync::Result<wsync::SyncReport> swap_in(wsync::Receiver& receiver, wsync::StagedVersion& staged) { return receiver.activate(std::move(staged)); }
