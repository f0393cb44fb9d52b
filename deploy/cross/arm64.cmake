# Toolchain: Debian's cross compiler for arm64 on a sysroot made by
# `deploy/cross/sysroot arm64 build/sysroot/arm64` (another place: -DDTE_SYSROOT=).
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static)
set(DTE_SYSROOT "${CMAKE_CURRENT_LIST_DIR}/../../build/sysroot/arm64" CACHE PATH "deploy/cross/sysroot's OUT_DIR")
include("${CMAKE_CURRENT_LIST_DIR}/debian.cmake")
