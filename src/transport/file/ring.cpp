#include "transport/file/ring.hpp"

#include <cerrno>

namespace wsync::file_transport {

Result<std::unique_ptr<Ring>> Ring::make(unsigned depth, int event) {
    io_uring ring{};
    const int error = ::io_uring_queue_init(depth, &ring, 0);
    if (error != 0) return errno_error(-error, "setting up io_uring");
    ::io_uring_ring_dontfork(&ring);
    const int registered = ::io_uring_register_eventfd(&ring, event);
    if (registered != 0) {
        ::io_uring_queue_exit(&ring);
        return errno_error(-registered, "registering an eventfd with io_uring");
    }
    std::unique_ptr<Ring> owner(new Ring);
    owner->ring_ = ring;
    return owner;
}

bool Ring::prepare_read(int fd, std::byte* to, std::uint64_t bytes, std::uint64_t offset, std::uint64_t tag) {
    io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
    if (sqe == nullptr) return false;
    ::io_uring_prep_read(sqe, fd, to, static_cast<unsigned>(bytes), offset);
    ::io_uring_sqe_set_data64(sqe, tag);
    return true;
}

bool Ring::prepare_write(int fd, const std::byte* from, std::uint64_t bytes, std::uint64_t offset, std::uint64_t tag) {
    io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
    if (sqe == nullptr) return false;
    ::io_uring_prep_write(sqe, fd, from, static_cast<unsigned>(bytes), offset);
    ::io_uring_sqe_set_data64(sqe, tag);
    return true;
}

Status Ring::submit() {
    while (::io_uring_sq_ready(&ring_) != 0) {
        const int n = ::io_uring_submit(&ring_);
        if (n == -EINTR || n == -EAGAIN || n == -EBUSY) continue;
        if (n < 0) return errno_error(-n, "submitting to io_uring");
    }
    return {};
}

void Ring::reap(const std::function<void(std::uint64_t, int)>& visit) {
    io_uring_cqe* cqe = nullptr;
    while (::io_uring_peek_cqe(&ring_, &cqe) == 0) {
        const std::uint64_t tag = ::io_uring_cqe_get_data64(cqe);
        const int result = cqe->res;
        ::io_uring_cqe_seen(&ring_, cqe);
        visit(tag, result);
    }
}

void Ring::wait_one() {
    io_uring_cqe* cqe = nullptr;
    while (::io_uring_wait_cqe(&ring_, &cqe) == -EINTR) {
    }
}

}  // namespace wsync::file_transport
