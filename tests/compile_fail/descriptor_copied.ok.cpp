#include "wsync/base/unique_fd.hpp"

wsync::UniqueFd once(wsync::UniqueFd&& fd) { return std::move(fd); }
