// says: rvalue reference
#include "wsync/session/publisher.hpp"

wsync::Result<wsync::Version> publish(wsync::Publisher& publisher, wsync::Write& write) { return publisher.publish(write); }
