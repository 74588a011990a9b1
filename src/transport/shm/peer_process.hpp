// Who is behind a Unix stream: whether he may be served, and a descriptor that tells of his death.
#pragma once

#include "transport/wire/stream.hpp"

namespace wsync::shm {

// The same user or root. In another user or pid namespace the kernel can't name a peer's user as ours; there the secret,
// which he has proved, is enough.
[[nodiscard]] bool may_be_served(const StreamPeer& peer);

// A pidfd of the process that `identity` names, in whichever namespace it is; one without a descriptor where the system
// has no way (then only the stream tells of its end). Error{peer_lost}: it has gone already.
[[nodiscard]] Result<UniqueFd> watch_process(const Stream& stream, const ProcessIdentity& identity);

}  // namespace wsync::shm
