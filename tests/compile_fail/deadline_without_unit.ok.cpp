#include "wsync/base/deadline.hpp"

wsync::Deadline soon() { return std::chrono::seconds(30); }
