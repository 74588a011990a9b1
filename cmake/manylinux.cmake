# The toolchain of scripts/wheel.sh, which makes the folder WSYNC_TOOLCHAIN: a clang++ for an older glibc, and the headers of the libraries.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES WSYNC_TOOLCHAIN)
set(CMAKE_CXX_COMPILER ${WSYNC_TOOLCHAIN}/clang++)
set(CMAKE_CXX_STANDARD_INCLUDE_DIRECTORIES ${WSYNC_TOOLCHAIN}/include)
# Debian's folders for this architecture, which CMake knows of Debian's compiler alone.
list(APPEND CMAKE_PREFIX_PATH /usr/lib/x86_64-linux-gnu/cmake)
list(APPEND CMAKE_LIBRARY_PATH /usr/lib/x86_64-linux-gnu)
