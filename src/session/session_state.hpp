// What the objects of one session share.
#pragma once

#include "control/control.hpp"
#include "kernels/kernel_set.hpp"
#include "memory/ledger.hpp"
#include "sync/publication.hpp"
#include "wsync/session/session.hpp"

namespace wsync {

struct Session::Impl {
    SessionOptions options;
    std::shared_ptr<Control> control;
    const KernelSet* kernels = nullptr;
    MemoryLedger ledger;

    // Makes shm and tcp with an epoch's secret.
    [[nodiscard]] TransportFactory transports() const;
};

}  // namespace wsync
