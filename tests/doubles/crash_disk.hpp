// A disk that loses power: what a recorded sequence of store operations may leave behind.
//
// RecordingFileSystem passes everything on to a real file system and keeps the operations with their bytes, in their order
// where several threads use it. CrashDisk
// replays a prefix of them into a model of names and bytes, each in two states, volatile and synced, and lays one of the
// outcomes that POSIX allows into a directory: only what was synced; names that went ahead of bytes; bytes that went ahead
// of names; everything.
#pragma once

#include "scratch_folder.hpp"
#include "store/file_system.hpp"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <map>
#include <mutex>

namespace wsync::testing {

struct RecordedOperation {
    enum class Kind { create_directory, create_file, write, sync, rename, remove } kind;
    std::string path, to;
    std::uint64_t bytes = 0;
    std::vector<std::pair<std::uint64_t, std::string>> ranges;  // offset, bytes
};

class RecordingFileSystem final : public FileSystem {
public:
    explicit RecordingFileSystem(FileSystem& real) : real_(real) {}
    Status create(const std::string& path, std::optional<std::uint64_t> bytes) override {
        const auto kind = bytes ? RecordedOperation::Kind::create_file : RecordedOperation::Kind::create_directory;
        return note([&] { return real_.create(path, bytes); }, {kind, path, {}, bytes.value_or(0), {}});
    }
    Result<std::vector<Digest>> write(const std::string& path, std::span<const FileRange> ranges) override {
        RecordedOperation operation{RecordedOperation::Kind::write, path, {}, 0, {}};
        for (const FileRange& r : ranges) {
            const std::string bytes(reinterpret_cast<const char*>(r.memory->address + r.memory_offset), r.bytes);
            const std::uint64_t row_bytes = r.bytes / r.rows;
            for (std::uint64_t row = 0; row < r.rows; ++row) {
                operation.ranges.emplace_back(r.offset + row * r.stride, bytes.substr(row * row_bytes, row_bytes));
            }
        }
        std::lock_guard lock(mutex_);
        auto result = real_.write(path, ranges);
        if (result) operations.push_back(std::move(operation));
        return result;
    }
    Result<std::vector<Digest>> read(const std::string& path, std::span<const FileRange> ranges) override { return real_.read(path, ranges); }
    Status sync(const std::string& path) override { return note([&] { return real_.sync(path); }, {RecordedOperation::Kind::sync, path, {}, 0, {}}); }
    Status rename(const std::string& from, const std::string& to) override {
        return note([&] { return real_.rename(from, to); }, {RecordedOperation::Kind::rename, from, to, 0, {}});
    }
    Status remove(const std::string& path) override { return note([&] { return real_.remove(path); }, {RecordedOperation::Kind::remove, path, {}, 0, {}}); }
    Result<DirectoryListing> list(const std::string& path) override { return real_.list(path); }

    std::vector<RecordedOperation> operations;

private:
    template <class Operation>
    Status note(const Operation& operate, RecordedOperation operation) {
        std::lock_guard lock(mutex_);
        Status result = operate();
        if (result) operations.push_back(std::move(operation));
        return result;
    }
    FileSystem& real_;
    std::mutex mutex_;
};

class CrashDisk {
public:
    enum class Outcome { only_synced, names_ahead_of_bytes, bytes_ahead_of_names, everything };
    static constexpr auto kOutcomes = {Outcome::only_synced, Outcome::names_ahead_of_bytes, Outcome::bytes_ahead_of_names, Outcome::everything};

    // Everything under `root` as it is now is on the disk, synced.
    explicit CrashDisk(std::string root) : root_(std::move(root)), top_(load(root_)) {}

    void replay(const RecordedOperation& operation) {
        using Kind = RecordedOperation::Kind;
        switch (operation.kind) {
            case Kind::create_directory: entry(operation.path) = make(true); break;
            case Kind::create_file: {
                int& node = entry(operation.path);
                if (node == 0) node = make(false);
                nodes_[node].bytes.resize(operation.bytes, '\0');
                break;
            }
            case Kind::write:
                for (const auto& [offset, bytes] : operation.ranges) nodes_.at(entry(operation.path)).bytes.replace(offset, bytes.size(), bytes);
                break;
            case Kind::sync: {
                Node& node = nodes_.at(operation.path == root_ ? top_ : entry(operation.path));
                node.synced_bytes = node.bytes;
                node.synced_names = node.names;
                break;
            }
            case Kind::rename: {
                const int moved = entry(operation.path);
                forget(operation.path);
                entry(operation.to) = moved;
                break;
            }
            case Kind::remove: forget(operation.path); break;
        }
    }

    void lay_out(Outcome outcome, const std::string& where) const {
        const bool names = outcome == Outcome::everything || outcome == Outcome::names_ahead_of_bytes;
        const bool bytes = outcome == Outcome::everything || outcome == Outcome::bytes_ahead_of_names;
        lay_out(top_, names, bytes, where);
    }

private:
    struct Node {
        bool directory = false;
        std::string bytes, synced_bytes;
        std::map<std::string, int> names, synced_names;
    };

    int make(bool directory) {
        nodes_[++last_].directory = directory;
        return last_;
    }
    int load(const std::string& path) {
        const int node = make(std::filesystem::is_directory(path));
        if (nodes_[node].directory) {
            for (const auto& inside : std::filesystem::directory_iterator(path)) {
                const int child = load(inside.path());
                nodes_[node].names[inside.path().filename()] = child;
            }
        } else {
            nodes_[node].bytes = read_whole_file(path);
        }
        nodes_[node].synced_bytes = nodes_[node].bytes;
        nodes_[node].synced_names = nodes_[node].names;
        return node;
    }
    std::pair<Node*, std::string> parent_of(const std::string& path) {
        Node* node = &nodes_.at(top_);
        std::string rest = path.substr(root_.size() + 1);
        for (auto slash = rest.find('/'); slash != std::string::npos; slash = rest.find('/')) {
            node = &nodes_.at(node->names.at(rest.substr(0, slash)));
            rest = rest.substr(slash + 1);
        }
        return {node, rest};
    }
    int& entry(const std::string& path) {
        auto [node, name] = parent_of(path);
        return node->names[name];
    }
    void forget(const std::string& path) {
        auto [node, name] = parent_of(path);
        node->names.erase(name);
    }
    void lay_out(int id, bool names, bool bytes, const std::string& where) const {
        const Node& node = nodes_.at(id);
        if (!node.directory) {
            std::ofstream(where, std::ios::binary) << (bytes ? node.bytes : node.synced_bytes);
            return;
        }
        std::filesystem::create_directory(where);
        for (const auto& [name, child] : names ? node.names : node.synced_names) {
            if (child != 0) lay_out(child, names, bytes, where + "/" + name);
        }
    }

    std::string root_;
    std::map<int, Node> nodes_;
    int last_ = 0;
    int top_ = 0;
};

}  // namespace wsync::testing
