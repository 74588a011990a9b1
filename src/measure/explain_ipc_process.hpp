// The bodies of explain ipc's two processes. See explain_ipc.hpp.
#pragma once

#include "measure/child.hpp"
#include "measure/explain_ipc.hpp"

namespace wsync {

inline constexpr std::string_view kIpcName = "explain";  // the weights' name

struct IpcPlace {
    std::string control, sockets;
    std::uint32_t example = 0;  // the tensor whose first page both sides look at
};

[[nodiscard]] int run_ipc_exporter(Conversation& parent, const ExplainIpcOptions& options, const IpcPlace& place);
[[nodiscard]] int run_ipc_importer(Conversation& parent, const ExplainIpcOptions& options, const IpcPlace& place);

}  // namespace wsync
