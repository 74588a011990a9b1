// Where a pull receives: a file beside its output, mapped, so that a pull that dies goes on where it was.
#pragma once

#include "wsync/base/result.hpp"
#include "wsync/base/unique_fd.hpp"
#include "wsync/model/placement.hpp"

#include <span>
#include <string>

namespace wsync::tool {

class PartialFile {
public:
    PartialFile() = default;
    ~PartialFile();
    PartialFile(const PartialFile&) = delete;
    PartialFile& operator=(const PartialFile&) = delete;

    // Makes or reopens `path` with `bytes` bytes, all of them allocated (a full disk shows here). Nobody else may have it.
    [[nodiscard]] Result<std::span<std::byte>> open(const std::string& path, std::uint64_t bytes);
    // True when open() found an earlier pull's bytes.
    [[nodiscard]] bool resumed() const { return resumed_; }
    void remove() noexcept;

private:
    std::string path_;
    UniqueFd fd_;
    std::byte* address_ = nullptr;
    std::uint64_t bytes_ = 0;
    bool resumed_ = false;
};

}  // namespace wsync::tool
