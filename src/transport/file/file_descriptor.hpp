// The descriptor of an exposed file, as a record.
#pragma once

#include "transport/transport.hpp"

namespace wsync::file_transport {

struct FileIdentity {
    std::string boot_id;
    std::string host;            // for messages
    std::string path;            // absolute
    std::uint64_t device = 0, inode = 0;
    std::uint64_t file_bytes = 0;
    std::uint64_t offset = 0, bytes = 0;  // the region inside the file
    bool allow_write = false;
    friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

[[nodiscard]] Descriptor encode(const FileIdentity& identity);
// Error{invalid_argument}: of another transport; {corrupt}, {unsupported}: see ByteReader.
[[nodiscard]] Result<FileIdentity> decode(const Descriptor& descriptor);

}  // namespace wsync::file_transport
