// The publisher's side of a link against any bytes. The first byte says whether a good hello goes before them. What holds
// were granted end with the link, and only whole frames reach the service.
#include "sync/link_frames.hpp"

#include <cstdlib>
#include <set>
#include <sys/socket.h>
#include <thread>

namespace {

using namespace wsync;

void require(bool holds) {
    if (!holds) std::abort();
}

class Service final : public LinkService {
public:
    Result<std::shared_ptr<const Bytes>> blob(const Digest& digest) override {
        if (digest.bytes[0] % 2 == 1) return Error{Code::not_found, "no such blob", {}};
        return blob_;
    }
    Result<GrantedHold> grant(std::uint64_t connection, std::uint64_t number, HoldKind kind, const std::string& holder) override {
        require(kind <= HoldKind::serve && holder.size() < 1024);
        if (number % 2 == 1) return Error{Code::unavailable, "long ago", {}};
        connection_ = connection;
        const Hold hold{++last_, number, 0, 2, kind};
        standing_.insert(hold.id);
        return GrantedHold{hold, {}};
    }
    std::optional<GrantedHold> offer(std::uint64_t, std::uint64_t) override { return {}; }
    void claim(std::uint64_t) override {}
    void release(std::uint64_t hold_id) override { standing_.erase(hold_id); }
    Status check(std::uint64_t hold_id) override { return standing_.contains(hold_id) ? Status{} : Status{Error{Code::corrupt, "revoked", {}}}; }
    Result<std::vector<Digest>> digests(std::uint64_t hold_id, std::span<const BoxRequest> boxes) override {
        require(boxes.size() <= kMaxBoxesPerRequest);
        for (const auto& box : boxes) require(box.box.offset.size() == box.box.size.size() && box.box.offset.size() <= kMaxRank);
        WSYNC_TRY_VOID(check(hold_id));
        return std::vector<Digest>(boxes.size());
    }
    void connection_ended(std::uint64_t connection) override {
        require(connection_ == 0 || connection == connection_);
        standing_.clear();
        ++ended;
    }
    std::optional<HeadRecord> head() override { return HeadRecord{{"policy", "run", 1, 2, 3, 1, {}}}; }
    int ended = 0;

private:
    std::shared_ptr<const Bytes> blob_ = std::make_shared<const Bytes>(100);
    std::set<std::uint64_t> standing_;
    std::uint64_t last_ = 0, connection_ = 0;
};

const ProcessIdentity& another_host() {
    static const ProcessIdentity identity{"another-boot", "node-7", 1, 4711, 123456};
    return identity;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const bool greeted = data[0] % 4 != 0;
    const auto bytes = std::as_bytes(std::span(data + 1, size - 1));
    Service service;
    auto server = LinkServer::start({}, {}, service);
    require(server.has_value());
    int ends[2];
    require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    std::thread client([&, mine = UniqueFd(ends[1])]() mutable {
        Stream stream(std::move(mine), {.name = "client"});
        // Reads what comes while it sends.
        std::thread reader([&stream] {
            std::byte one[1];
            while (stream.receive_all(one, std::chrono::seconds(10))) {
            }
        });
        if (greeted) (void)stream.send_frame(link::encode(link::Hello{another_host(), "fuzz"}), std::chrono::seconds(5));
        (void)stream.send_all(bytes, std::chrono::seconds(5));
        ::shutdown(stream.fd(), SHUT_WR);
        reader.join();
    });
    {
        Stream stream(UniqueFd(ends[0]), {.name = "client"});
        (*server)->serve(stream);
        stream.shut_down();
    }
    client.join();
    require(service.ended <= 1 && (!greeted || service.ended == 1));
    return 0;
}
