// says: use of deleted function|deleted|implicitly-deleted
#include "wsync/base/unique_fd.hpp"

wsync::UniqueFd twice(const wsync::UniqueFd& fd) { return fd; }
