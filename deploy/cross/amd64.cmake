# Toolchain: Debian's compiler for amd64 on a sysroot made by
# `deploy/cross/sysroot amd64 build/sysroot/amd64` (another place: -DDTE_SYSROOT=).
# On amd64 it is the native compiler, with the sysroot's libraries.
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_LIBRARY_ARCHITECTURE x86_64-linux-gnu)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-x86_64-static)
set(DTE_SYSROOT "${CMAKE_CURRENT_LIST_DIR}/../../build/sysroot/amd64" CACHE PATH "deploy/cross/sysroot's OUT_DIR")
include("${CMAKE_CURRENT_LIST_DIR}/debian.cmake")
