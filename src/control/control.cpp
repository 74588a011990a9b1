#include "control/control.hpp"

#include "control/directory/directory_control.hpp"
#include "control/in_process/in_process_control.hpp"

#include <fmt/format.h>
#include <map>
#include <mutex>

namespace wsync {
namespace {

// Threads of one process meet under a name; the instance goes with its last user. The one process-wide table of wsync.
std::shared_ptr<Control> shared_in_process_control(const std::string& name) {
    static std::mutex mutex;
    static std::map<std::string, std::weak_ptr<Control>, std::less<>> instances;
    const std::lock_guard lock(mutex);
    std::erase_if(instances, [](const auto& item) { return item.second.expired(); });
    auto& slot = instances[name];
    auto control = slot.lock();
    if (!control) {
        control = make_in_process_control(name);
        slot = control;
    }
    return control;
}

}  // namespace

Result<std::shared_ptr<Control>> open_control(const std::string& address) {
    if (address == "local:") return make_in_process_control("");
    if (address.starts_with("local:")) return shared_in_process_control(address.substr(6));
    if (address.starts_with("dir:")) {
        DirectoryOptions options;
        options.path = address.substr(4);
        return open_directory_control(std::move(options));
    }
    return Error{Code::invalid_argument,
                 fmt::format("control address \"{}\" is neither \"dir:PATH\" (a folder that all processes see) nor \"local:NAME\" (threads of "
                             "one process)",
                             address.substr(0, 200)),
                 {}};
}

}  // namespace wsync
