#include "transport/wire/stale_sockets.hpp"

#include "transport/wire/endpoint.hpp"

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <dirent.h>
#include <memory>
#include <string_view>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace wsync {
namespace {

// A listener binds under a hidden name (its own, the first letter a dot) and takes its own once it listens. Who is still
// between the two after so many seconds has died there.
constexpr std::time_t kOldestHidden = 60;

// The names that links and exposures give themselves: "link-" and 12 hexadecimal digits, or 16 of them.
bool is_own_name(std::string_view name) {
    constexpr std::string_view kLink = "link-";
    if (name.size() != kLink.size() + 12 && name.size() != 16) return false;
    if (name.size() != 16) {
        if (!name.starts_with(kLink)) return false;
        name.remove_prefix(kLink.size());
    }
    return std::all_of(name.begin(), name.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool nobody_listens(const std::string& path) {
    const Endpoint endpoint{"unix:" + path};
    const auto address = unix_address(endpoint);
    if (!address) return false;
    UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    return probe && ::connect(probe.get(), address->get(), address->size) != 0 && errno == ECONNREFUSED;
}

void remove_if_stale(const std::string& directory, const std::string& name) {
    const bool hidden = name.front() == '.';
    if (hidden ? !is_own_name("l" + name.substr(1)) && !is_own_name("0" + name.substr(1)) : !is_own_name(name)) return;
    const std::string path = directory + "/" + name;
    struct stat before {}, after {};
    if (::lstat(path.c_str(), &before) != 0 || !S_ISSOCK(before.st_mode) || before.st_uid != ::geteuid()) return;
    if (hidden && ::time(nullptr) - before.st_mtime < kOldestHidden) return;
    if (!nobody_listens(path)) return;
    if (::lstat(path.c_str(), &after) == 0 && after.st_ino == before.st_ino && after.st_dev == before.st_dev) ::unlink(path.c_str());
}

}  // namespace

void remove_stale_sockets(const std::string& directory) noexcept {
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(directory.c_str()), &::closedir);
    if (!stream) return;
    while (const dirent* entry = ::readdir(stream.get())) remove_if_stale(directory, entry->d_name);
}

}  // namespace wsync
