// says: ignoring return
#include "wsync/base/result.hpp"

wsync::Result<int> read_step();
wsync::Status publish();

void train() {
    read_step();
    publish();
}
