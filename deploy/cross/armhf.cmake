# Toolchain: Debian's cross compiler for armhf on a sysroot made by
# `deploy/cross/sysroot armhf build/sysroot/armhf` (another place: -DDTE_SYSROOT=).
# Debian's armhf libc has no rcrt1.o: link with -static, not with -static-pie.
set(CMAKE_SYSTEM_PROCESSOR armv7l)
set(CMAKE_LIBRARY_ARCHITECTURE arm-linux-gnueabihf)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-arm-static)
set(DTE_SYSROOT "${CMAKE_CURRENT_LIST_DIR}/../../build/sysroot/armhf" CACHE PATH "deploy/cross/sysroot's OUT_DIR")
set(CMAKE_CXX_FLAGS_INIT "-Wno-psabi")  # g++ 7 ABI notes on std containers, of no use here
include("${CMAKE_CURRENT_LIST_DIR}/debian.cmake")
