"""Files out of the page cache and back into it, and the proof of either. Standard library alone."""
import ctypes
import mmap
import os


def files_below(path):
    if not os.path.isdir(path):
        return [path]
    return [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]


def resident_share(path):
    """The share of a file's pages that are in the page cache; of an empty file 0."""
    size = os.path.getsize(path)
    if size == 0:
        return 0.0
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE
    descriptor = os.open(path, os.O_RDONLY)
    try:
        address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
        if address == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "mmap", path)
        try:
            seen = ctypes.create_string_buffer(pages)
            if libc.mincore(address, size, seen) != 0:
                raise OSError(ctypes.get_errno(), "mincore", path)
        finally:
            libc.munmap(address, size)
    finally:
        os.close(descriptor)
    return (pages - seen.raw.count(b"\0")) / pages


def each_file(path, visit):
    """Calls `visit` with every file below `path`. One that is removed meanwhile (a version retires) is no loss."""
    for name in files_below(path):
        try:
            visit(name)
        except FileNotFoundError:
            if name == path:
                raise


def drop(path):
    """Every file below `path` is written back and leaves the page cache; RuntimeError where one stays."""
    each_file(path, drop_file)


def drop_file(name):
    descriptor = os.open(name, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    if (share := resident_share(name)) > 0.01:
        raise RuntimeError(f"{name}: {share:.0%} stayed in the page cache; a cold read can't be measured there")


def fill(path):
    """Every file below `path` is read into the page cache; RuntimeError where it does not stay there."""
    each_file(path, fill_file)


def fill_file(name):
    piece = bytearray(1 << 20)
    with open(name, "rb", buffering=0) as file:
        while file.readinto(piece):
            pass
    if os.path.getsize(name) and (share := resident_share(name)) < 0.99:
        raise RuntimeError(f"{name}: only {share:.0%} stay in the page cache: there is too little memory for a warm read")
