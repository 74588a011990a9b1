// A man in the middle of TCP connections: passes every byte on, but for one that it changes.
#pragma once

#include "transport/wire/readiness.hpp"
#include "wsync/base/unique_fd.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <optional>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <vector>

namespace wsync::testing {

struct Flip {
    bool to_client = true;      // of the bytes that the server sends
    std::uint64_t offset = 0;   // in them, from the connection's first byte
    std::byte mask{1};
};

// Serves one connection after the other. After the constructor, port() takes connections to 127.0.0.1:`server_port`.
class ByteFlipper {
public:
    explicit ByteFlipper(std::uint16_t server_port) : server_port_(server_port) {
        auto address = loopback(0);
        socklen_t size = sizeof address;
        if (::bind(listening_.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listening_.get(), 8) != 0) throw std::runtime_error("listen");
        ::getsockname(listening_.get(), reinterpret_cast<sockaddr*>(&address), &size);
        port_ = ntohs(address.sin_port);
        thread_ = std::thread([this] { serve(); });
    }
    ~ByteFlipper() {
        ::shutdown(listening_.get(), SHUT_RDWR);
        thread_.join();
    }
    ByteFlipper(const ByteFlipper&) = delete;
    ByteFlipper& operator=(const ByteFlipper&) = delete;

    [[nodiscard]] std::uint16_t port() const { return port_; }
    // For connections that begin from now on.
    void flip(std::optional<Flip> one) {
        const std::lock_guard lock(mutex_);
        flip_ = one;
    }
    // Of the last connection so far.
    [[nodiscard]] std::uint64_t to_client() const { return passed_[1]; }
    [[nodiscard]] std::uint64_t to_server() const { return passed_[0]; }

private:
    static sockaddr_in loopback(std::uint16_t port) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(port);
        return address;
    }
    void serve() {
        for (;;) {
            const UniqueFd client(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC));
            if (!client) return;
            const UniqueFd server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
            const auto address = loopback(server_port_);
            if (::connect(server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) continue;
            const int on = 1;
            for (const int fd : {client.get(), server.get()}) (void)::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            passed_[0] = passed_[1] = 0;
            const auto flip = next_flip();
            while (pass(client.get(), server.get(), flip)) {
            }
        }
    }
    std::optional<Flip> next_flip() {
        const std::lock_guard lock(mutex_);
        return flip_;
    }
    // False when one side has hung up, or nobody is left who wants to be served.
    bool pass(int client, int server, const std::optional<Flip>& flip) {
        std::array<pollfd, 2> items{pollfd{client, POLLIN, 0}, pollfd{server, POLLIN, 0}};
        (void)wait_ready(items, Deadline::never());
        for (const bool to_client : {false, true}) {
            if (items[to_client ? 1 : 0].revents == 0) continue;
            std::vector<std::byte> bytes(64 * 1024);
            const auto got = ::recv(to_client ? server : client, bytes.data(), bytes.size(), 0);
            if (got <= 0) return false;
            auto& passed = passed_[to_client ? 1 : 0];
            if (flip && flip->to_client == to_client && flip->offset >= passed && flip->offset < passed + static_cast<std::uint64_t>(got)) {
                bytes[flip->offset - passed] ^= flip->mask;
            }
            passed += static_cast<std::uint64_t>(got);
            for (ssize_t at = 0; at < got;) {
                const auto sent = ::send(to_client ? client : server, bytes.data() + at, static_cast<std::size_t>(got - at), MSG_NOSIGNAL);
                if (sent <= 0) return false;
                at += sent;
            }
        }
        return true;
    }

    const std::uint16_t server_port_;
    UniqueFd listening_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    std::uint16_t port_ = 0;
    std::mutex mutex_;
    std::optional<Flip> flip_;
    std::array<std::atomic<std::uint64_t>, 2> passed_{};
    std::thread thread_;
};

}  // namespace wsync::testing
