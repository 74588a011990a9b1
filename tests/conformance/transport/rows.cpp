#include "conformance/transport/rows.hpp"

#include "memory/file_region.hpp"
#include "memory/host_buffer.hpp"
#include "memory/slab.hpp"
#include "transport/file/file_transport.hpp"
#include "transport/shm/shm_transport.hpp"
#include "transport/tcp/tcp_transport.hpp"

#include <algorithm>
#include <cstring>
#include <fstream>

namespace wsync::testing {
namespace {

Source slab_source(const Setting&, std::span<const std::byte> content) {
    SlabOptions options;
    options.bytes = content.size();
    options.name = "wsync-conformance";
    options.huge_pages = false;
    auto slab = SharedSlab::make(options).value();
    Source source{SharedSlab::region(slab), &slab->page().generation, slab};
    std::copy(content.begin(), content.end(), source.region.address);
    return source;
}

struct HostMemory {
    std::shared_ptr<HostBuffer> buffer;
    std::atomic<std::uint64_t> generation{0};
};

Source host_source(const Setting&, std::span<const std::byte> content) {
    HostBufferOptions options;
    options.bytes = content.size();
    options.huge_pages = false;
    auto owner = std::make_shared<HostMemory>();
    owner->buffer = HostBuffer::make(options).value();
    std::copy(content.begin(), content.end(), owner->buffer->bytes().begin());
    return {HostBuffer::region(owner->buffer), &owner->generation, owner};
}

Source file_source(const Setting& setting, std::span<const std::byte> content) {
    const std::string path = setting.directory + "/weights";
    {
        std::ofstream out(path, std::ios::binary);
        out.write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
    }
    auto owner = std::make_shared<std::atomic<std::uint64_t>>(0);
    return {open_file_region(path, true).value(), owner.get(), owner};
}

Result<std::unique_ptr<Transport>> make_shm(const Setting& setting) {
    ShmOptions options;
    options.socket_directory = setting.directory + "/sockets";
    options.secret = setting.secret;
    return make_shm_transport(std::move(options));
}

Result<std::unique_ptr<Transport>> make_tcp(const Setting& setting) {
    TcpOptions options;
    options.secret = setting.secret;
    return make_tcp_transport(std::move(options));
}

Result<std::unique_ptr<Transport>> make_file(const Setting&) { return make_file_transport({}); }

Result<std::unique_ptr<Transport>> make_file_by_pread(const Setting&) {
    FileOptions options;
    options.engine = FileEngine::threads;
    options.direct = DirectIo::never;
    return make_file_transport(options);
}

}  // namespace

std::vector<TransportUnderTest> transport_rows() {
    std::vector<TransportUnderTest> rows;
    rows.push_back({.name = "shm", .make = make_shm, .make_source = slab_source, .exporter_serves = false, .attachment_is_work = true});
    rows.push_back({.name = "tcp_host", .make = make_tcp, .make_source = host_source});
    rows.push_back({.name = "tcp_slab", .make = make_tcp, .make_source = slab_source});
    rows.push_back({.name = "tcp_file", .make = make_tcp, .make_source = file_source});
    TransportUnderTest file{.name = "file",
                            .make = make_file,
                            .make_source = file_source,
                            .exporter_serves = false,
                            .attach_asks_exporter = false,
                            .notices_death = false,
                            .checks_generation = false};
    rows.push_back(file);
    file.name = "file_pread";
    file.make = make_file_by_pread;
    rows.push_back(file);
    return rows;
}

std::vector<std::byte> pattern(std::size_t bytes) {
    std::vector<std::byte> content(bytes);
    for (std::size_t at = 0; at < bytes; at += 8) {
        std::uint64_t word = (at + 1) * 0x9e3779b97f4a7c15ULL;
        word = (word ^ (word >> 31)) * 0xbf58476d1ce4e5b9ULL;
        word ^= word >> 29;
        std::memcpy(content.data() + at, &word, std::min<std::size_t>(8, bytes - at));
    }
    return content;
}

}  // namespace wsync::testing
