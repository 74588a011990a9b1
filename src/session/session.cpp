#include "session/session_state.hpp"
#include "transport/shm/shm_transport.hpp"
#include "transport/tcp/tcp_transport.hpp"

#include <fmt/format.h>
#include <unistd.h>

namespace wsync {

TransportFactory Session::Impl::transports() const {
    const SessionOptions& chosen = options;
    return [chosen, set = kernels](const Secret& secret) -> Result<std::vector<std::unique_ptr<Transport>>> {
        std::vector<std::unique_ptr<Transport>> made;
        if (chosen.shm) {
            ShmOptions shm;
            shm.socket_directory = chosen.socket_directory;
            shm.secret = secret;
            shm.kernels = set;
            WSYNC_TRY(auto transport, make_shm_transport(std::move(shm)));
            made.push_back(std::move(transport));
        }
        if (!chosen.tcp_host.empty()) {
            TcpOptions tcp;
            tcp.listen_host = chosen.tcp_host;
            tcp.secret = secret;
            tcp.kernels = set;
            WSYNC_TRY(auto transport, make_tcp_transport(std::move(tcp)));
            made.push_back(std::move(transport));
        }
        if (chosen.decorate)
            for (auto& transport : made) transport = chosen.decorate(std::move(transport));
        return made;
    };
}

Session::Session(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Result<Session> Session::open(const SessionOptions& options) {
    auto impl = std::make_shared<Impl>();
    impl->options = options;
    if (options.socket_directory.empty()) impl->options.socket_directory = fmt::format("/tmp/wsync-{}", ::getuid());
    if (!options.shm && options.tcp_host.empty()) return Error{Code::invalid_argument, "a session without shm and without tcp can move nothing", {}};
    impl->kernels = options.kernels.empty() ? &default_kernels() : find_kernels(options.kernels);
    if (impl->kernels == nullptr) {
        std::string names;
        for (const auto& set : available_kernels()) names += (names.empty() ? "" : ", ") + std::string(set.name);
        return Error{Code::invalid_argument, fmt::format("no kernels \"{}\" on this processor; there are {}", options.kernels, names), {}};
    }
    WSYNC_TRY(impl->control, open_control(options.control).within("opening the control plane"));
    return Session(std::move(impl));
}

std::map<std::string, std::uint64_t> Session::peak_extra_bytes() const { return impl_->ledger.peak_by_role(); }
void Session::reset_peak() { impl_->ledger.reset_peak(); }

}  // namespace wsync
