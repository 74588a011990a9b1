#include "transport/file/file_descriptor.hpp"

#include <fmt/format.h>

namespace wsync::file_transport {
namespace {

constexpr RecordKind kKind{"WFIL", 1, 0};
constexpr std::size_t kMaxPath = 3072;  // a descriptor has at most 4 KiB

}  // namespace

Descriptor encode(const FileIdentity& identity) {
    ByteWriter out;
    out.begin_record(kKind)
        .text(identity.boot_id)
        .text(identity.host)
        .text(identity.path)
        .u64(identity.device)
        .u64(identity.inode)
        .u64(identity.file_bytes)
        .u64(identity.offset)
        .u64(identity.bytes)
        .u8(identity.allow_write ? 1 : 0);
    return {"file", out.take()};
}

Result<FileIdentity> decode(const Descriptor& descriptor) {
    if (descriptor.transport != "file") {
        return Error{Code::invalid_argument, fmt::format("the descriptor is of transport \"{}\", not of \"file\"", descriptor.transport), {}};
    }
    ByteReader in(descriptor.bytes, "file descriptor");
    WSYNC_TRY(const auto minor, in.begin_record(kKind));
    FileIdentity identity;
    WSYNC_TRY(identity.boot_id, in.text(128));
    WSYNC_TRY(identity.host, in.text(256));
    WSYNC_TRY(identity.path, in.text(kMaxPath));
    WSYNC_TRY(identity.device, in.u64());
    WSYNC_TRY(identity.inode, in.u64());
    WSYNC_TRY(identity.file_bytes, in.u64());
    WSYNC_TRY(identity.offset, in.u64());
    WSYNC_TRY(identity.bytes, in.u64());
    WSYNC_TRY(auto allow_write, in.u8());
    if (minor <= kKind.minor) WSYNC_TRY_VOID(in.finish());
    identity.allow_write = allow_write != 0;
    if (identity.path.empty() || identity.path.front() != '/' || identity.path.find('\0') != std::string::npos) {
        return Error{Code::corrupt, "file descriptor: the path is not absolute", {}};
    }
    if (identity.offset > identity.file_bytes || identity.bytes > identity.file_bytes - identity.offset) {
        return Error{Code::corrupt, fmt::format("file descriptor: the region [{}, +{}) lies outside the file's {} bytes", identity.offset,
                                                identity.bytes, identity.file_bytes), {}};
    }
    return identity;
}

}  // namespace wsync::file_transport
