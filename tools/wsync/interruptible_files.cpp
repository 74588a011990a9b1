#include "interruptible_files.hpp"

#include "interrupt.hpp"

namespace wsync::tool {
namespace {

// What one call moves between two looks: long enough that a disk's queue stays full.
constexpr std::uint64_t kBytesBetweenLooks = std::uint64_t{256} << 20;

class InterruptibleFiles final : public FileSystem {
public:
    explicit InterruptibleFiles(std::unique_ptr<FileSystem> inner) : inner_(std::move(inner)) {}

    Status create(const std::string& path, std::optional<std::uint64_t> bytes) override {
        WSYNC_TRY_VOID(go_on());
        return inner_->create(path, bytes);
    }
    Result<std::vector<Digest>> write(const std::string& path, std::span<const FileRange> ranges) override {
        return in_parts(ranges, [&](auto part) { return inner_->write(path, part); });
    }
    Result<std::vector<Digest>> read(const std::string& path, std::span<const FileRange> ranges) override {
        return in_parts(ranges, [&](auto part) { return inner_->read(path, part); });
    }
    Status sync(const std::string& path) override {
        WSYNC_TRY_VOID(go_on());
        return inner_->sync(path);
    }
    Status rename(const std::string& from, const std::string& to) override {
        WSYNC_TRY_VOID(go_on());
        return inner_->rename(from, to);
    }
    Status remove(const std::string& path) override { return inner_->remove(path); }
    Result<DirectoryListing> list(const std::string& directory) override { return inner_->list(directory); }

private:
    static Status go_on() {
        if (interrupted_by() == 0) return {};
        return Error{Code::cancelled, "interrupted", {}};
    }
    template <class Move>
    static Result<std::vector<Digest>> in_parts(std::span<const FileRange> ranges, const Move& move) {
        std::vector<Digest> digests;
        digests.reserve(ranges.size());
        while (!ranges.empty()) {
            WSYNC_TRY_VOID(go_on());
            std::size_t count = 1;
            for (auto bytes = ranges.front().bytes; count < ranges.size() && bytes + ranges[count].bytes <= kBytesBetweenLooks; ++count)
                bytes += ranges[count].bytes;
            WSYNC_TRY(const auto some, move(ranges.first(count)));
            digests.insert(digests.end(), some.begin(), some.end());
            ranges = ranges.subspan(count);
        }
        return digests;
    }

    std::unique_ptr<FileSystem> inner_;
};

}  // namespace

std::unique_ptr<FileSystem> make_interruptible_files(Transport* bulk) { return std::make_unique<InterruptibleFiles>(make_file_system(bulk)); }

}  // namespace wsync::tool
