#include "store/checkpoint.hpp"

#include "format/safetensors_index.hpp"
#include "memory/file_region.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <fmt/format.h>
#include <sys/stat.h>
#include <thread>

namespace wsync {
namespace {

struct OpenedFile {
    Region region;
    FileStamp stamp;
    SafetensorsHeader header;
};

std::int64_t nanoseconds(const timespec& time) { return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec; }

FileStamp stamp_of(const struct stat& st) {
    return {static_cast<std::uint64_t>(st.st_dev), static_cast<std::uint64_t>(st.st_ino), static_cast<std::uint64_t>(st.st_size), nanoseconds(st.st_mtim),
            nanoseconds(st.st_ctim)};
}

// A second write within one tick of the kernel's clock leaves a file's times as they are: a stamp counts once the tick of
// the last write is over. A time ahead of the clock is another machine's, which no wait helps.
Result<FileStamp> take_stamp(const std::string& path) {
    constexpr std::int64_t kLongestTick = 10'000'000;
    while (true) {
        struct stat st {};
        if (::stat(path.c_str(), &st) != 0) return errno_error(errno, fmt::format("looking at {}", path));
        timespec now{};
        (void)::clock_gettime(CLOCK_REALTIME_COARSE, &now);
        const auto stamp = stamp_of(st);
        const auto last = std::max(stamp.written_ns, stamp.changed_ns);
        if (last < nanoseconds(now) || last > nanoseconds(now) + kLongestTick) return stamp;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

Result<Digest> read_bytes(FileSystem& files, const std::string& path, std::span<std::byte> to) {
    Region memory;
    memory.address = to.data();
    memory.bytes = to.size();
    memory.writable = true;
    const FileRange range{0, &memory, 0, to.size()};
    WSYNC_TRY(const auto digests, files.read(path, {&range, 1}));
    return digests.front();
}

Result<Checkpoint> assemble(std::vector<OpenedFile> opened, std::vector<std::string> paths) {
    Checkpoint checkpoint;
    std::vector<TensorSpec> tensors;
    std::vector<ShardPlace> places;  // of each tensor, empty ones too
    for (std::size_t f = 0; f < opened.size(); ++f) {
        const SafetensorsHeader& header = opened[f].header;
        for (std::size_t t = 0; t < header.manifest.size(); ++t) {
            tensors.push_back(header.manifest[t]);
            places.push_back({static_cast<std::uint32_t>(f), header.header_bytes + header.begins[t]});
        }
        checkpoint.placement.region_bytes.push_back(opened[f].region.bytes);
        checkpoint.regions.push_back(std::move(opened[f].region));
        checkpoint.stamps.push_back(opened[f].stamp);
    }
    if (!opened.empty()) checkpoint.metadata = opened.front().header.metadata;
    auto manifest = Manifest::make(std::move(tensors));
    // Each file is right by itself; together they may name a tensor twice.
    if (!manifest) return Error{Code::corrupt, manifest.error().message}.within(fmt::format("putting {} files together", paths.size()));
    WSYNC_TRY(checkpoint.layout, Layout::replicated(*std::move(manifest)));
    for (const Shard& shard : checkpoint.layout.shards_of(0)) checkpoint.placement.places.push_back(places[shard.tensor]);
    checkpoint.files = std::move(paths);
    return checkpoint;
}

Result<std::vector<std::string>> files_of_index(FileSystem& files, const std::string& directory, SafetensorsIndex& index) {
    const std::string path = fmt::format("{}/{}", directory, kSafetensorsIndexName);
    WSYNC_TRY(const auto text, read_small_file(files, path, kMaxSafetensorsIndexBytes));
    WSYNC_TRY(index, parse_safetensors_index({reinterpret_cast<const char*>(text.data()), text.size()}, path));
    return index.files();
}

Result<OpenedFile> open_file(FileSystem& files, const std::string& path) {
    OpenedFile opened;
    WSYNC_TRY(opened.stamp, take_stamp(path));
    WSYNC_TRY(auto header, read_safetensors_header(files, path));
    WSYNC_TRY(opened.header, parse_safetensors_header(header.bytes, header.region.bytes, path));
    opened.region = std::move(header.region);
    return opened;
}

// The index and the files say the same: every tensor is where the index has it, and no other is there.
Status check_against_index(const SafetensorsIndex& index, const std::vector<OpenedFile>& opened, const std::vector<std::string>& names) {
    std::size_t found = 0;
    for (std::size_t f = 0; f < opened.size(); ++f) {
        for (const TensorSpec& tensor : opened[f].header.manifest.tensors()) {
            const auto entry = index.weight_map.find(tensor.name);
            if (entry == index.weight_map.end()) {
                return Error{Code::corrupt, fmt::format("tensor \"{}\" is in {} but not in the index", tensor.name, names[f])};
            }
            if (entry->second != names[f]) {
                return Error{Code::corrupt, fmt::format("tensor \"{}\" is in {}, the index says {}", tensor.name, names[f], entry->second)};
            }
            ++found;
        }
    }
    if (found == index.weight_map.size()) return {};
    for (const auto& [tensor, file] : index.weight_map) {
        const auto f = static_cast<std::size_t>(std::find(names.begin(), names.end(), file) - names.begin());
        if (!opened[f].header.manifest.find(tensor)) {
            return Error{Code::corrupt, fmt::format("the index says that tensor \"{}\" is in {}, but it is not", tensor, file)};
        }
    }
    return Error{Code::internal, "the index counts other tensors than its files"};
}

}  // namespace

Result<HeaderBytes> read_safetensors_header(FileSystem& files, const std::string& path) {
    HeaderBytes header;
    WSYNC_TRY(header.region, open_file_region(path, false));
    if (header.region.bytes < kSafetensorsLengthBytes) {
        return Error{Code::corrupt, fmt::format("{} has {} bytes; a safetensors file begins with 8 bytes of length", path, header.region.bytes)};
    }
    std::array<std::byte, kSafetensorsLengthBytes> first{};
    WSYNC_TRY([[maybe_unused]] const auto ignored, read_bytes(files, path, first));
    WSYNC_TRY(const auto bytes, safetensors_header_bytes(first, header.region.bytes, path));
    header.bytes.resize(bytes);  // at most 100 MB, and the file has them
    WSYNC_TRY(header.digest, read_bytes(files, path, header.bytes));
    return header;
}

Result<Checkpoint> open_checkpoint(FileSystem& files, const std::string& path) {
    struct stat st {};
    if (::stat(path.c_str(), &st) != 0) return errno_error(errno, fmt::format("looking for {}", path));
    if (!S_ISDIR(st.st_mode)) {
        WSYNC_TRY(auto opened, open_file(files, path));
        std::vector<OpenedFile> one;
        one.push_back(std::move(opened));
        return assemble(std::move(one), {path});
    }
    WSYNC_TRY(const auto listing, files.list(path));
    std::vector<std::string> names;
    bool indexed = false;
    for (const DirectoryEntry& entry : listing.entries) {
        if (entry.name == kSafetensorsIndexName) indexed = true;
        else if (!entry.directory && entry.name.ends_with(".safetensors")) names.push_back(entry.name);
    }
    SafetensorsIndex index;
    if (indexed) {
        WSYNC_TRY(names, files_of_index(files, path, index));
    } else if (names.empty()) {
        return Error{Code::not_found, fmt::format("{} holds neither {} nor a *.safetensors file", path, kSafetensorsIndexName)};
    } else if (names.size() > 1) {
        return Error{Code::invalid_argument, fmt::format("{} holds {} *.safetensors files and no {}: name one of them, or remove what is left over", path,
                                                         names.size(), kSafetensorsIndexName)};
    }
    std::vector<OpenedFile> opened;
    std::vector<std::string> paths;
    for (const std::string& name : names) {
        paths.push_back(path + "/" + name);
        WSYNC_TRY(auto file, open_file(files, paths.back()));
        opened.push_back(std::move(file));
    }
    if (indexed) WSYNC_TRY_VOID(check_against_index(index, opened, names).within(fmt::format("opening {}", path)));
    return assemble(std::move(opened), std::move(paths)).within(fmt::format("opening {}", path));
}

Status check_unchanged(const Checkpoint& checkpoint) {
    for (std::size_t f = 0; f < checkpoint.files.size(); ++f) {
        const auto& path = checkpoint.files[f];
        const auto& then = checkpoint.stamps[f];
        const auto changed = [&](std::string_view how) {
            return Error{Code::corrupt, fmt::format("{} {} while it was read: write a checkpoint beside it and rename it when it is whole", path, how)};
        };
        struct stat st {};
        if (::stat(path.c_str(), &st) != 0) {
            if (errno == ENOENT) return changed("was removed");
            return errno_error(errno, fmt::format("looking at {}", path));
        }
        const auto now = stamp_of(st);
        if (now == then) continue;
        if (now.device != then.device || now.inode != then.inode) return changed("was replaced");
        if (now.bytes != then.bytes) return changed(fmt::format("went from {} to {} bytes", then.bytes, now.bytes));
        return changed(fmt::format("(of {} bytes) was written", now.bytes));
    }
    return {};
}

}  // namespace wsync
