// A folder of a run's own, for its control plane, its sockets or its files; removed with everything in it.
#pragma once

#include "wsync/base/result.hpp"

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace wsync {

class ScratchFolder {
public:
    [[nodiscard]] static Result<ScratchFolder> make(std::string_view name, const std::string& where = "/tmp") {
        std::string path = where + "/wsync-" + std::string(name) + "-XXXXXX";
        if (::mkdtemp(path.data()) == nullptr) return errno_error(errno, "making a scratch directory in " + where);
        return ScratchFolder(std::move(path));
    }
    ~ScratchFolder() {
        std::error_code ignored;
        if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
    }
    ScratchFolder(ScratchFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
    ScratchFolder& operator=(ScratchFolder&& other) noexcept {
        std::swap(path_, other.path_);
        return *this;
    }
    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    [[nodiscard]] std::string control() const { return "dir:" + path_ + "/control"; }
    [[nodiscard]] std::string sockets() const { return path_ + "/s"; }

private:
    explicit ScratchFolder(std::string path) : path_(std::move(path)) {}
    std::string path_;
};

}  // namespace wsync
