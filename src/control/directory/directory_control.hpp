// The control plane in a folder: no server, one host or a shared file system.
//
//   PATH/values/KEY,value   one file a value, replaced by rename; PATH/leases/ID; PATH/locks/00..3f
//
// A put is durable (file and directory fsynced) when it returns. Readers take no lock and may lack the right to write.
// Thread-safe. Leases and watches may outlive it.
#pragma once

#include "control/control.hpp"
#include "control/directory/folder.hpp"
#include "control/directory/lease_judge.hpp"

namespace wsync {

struct DirectoryOptions {
    std::string path;
    ControlClock clock = [] { return Deadline::clock::now(); };                   // judges other processes' leases
    Deadline::clock::duration lock_patience = std::chrono::seconds(10);           // for other processes' changes of a key
    Deadline::clock::duration poll_interval = std::chrono::milliseconds(50);      // of a watch, beside inotify
    bool use_inotify = true;                                                      // false: polling alone
    std::function<void(WriteStep)> at_step = {};                                  // for tests
};

// Makes the folder where it is missing. Error{invalid_argument}: everybody may write into it.
[[nodiscard]] Result<std::shared_ptr<Control>> open_directory_control(DirectoryOptions options);

}  // namespace wsync
