#include "wsync/base/result.hpp"

wsync::Result<int> read_step();
wsync::Status publish();

int train() {
    (void)publish();  // said so
    return read_step().value_or(0);
}
