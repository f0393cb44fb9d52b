# Compiler and linker flags of everything that is built: small, hardened, and the same
# bytes whatever the folder. tests/system/test_static_binaries.py holds the result to it.
# As Debian builds its packages; -O3 makes the code a sixth larger.
set(CMAKE_C_FLAGS_RELEASE "-O2 -DNDEBUG")
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
add_compile_options(
  -ffunction-sections -fdata-sections -fstack-protector-strong -fstack-clash-protection
  # A shipped program stops at an overflow that the compiler or the library can see, and
  # has no uninitialised variables. Sanitizers have their own ways.
  $<$<CONFIG:Release>:-U_FORTIFY_SOURCE> $<$<CONFIG:Release>:-D_FORTIFY_SOURCE=3>
  $<$<CONFIG:Release>:-D_GLIBCXX_ASSERTIONS> $<$<CONFIG:Release>:-ftrivial-auto-var-init=zero>
  # No path of this machine in the program (__FILE__): the build folder is below the sources or not.
  # Debug builds, which coverage reads, keep them.
  $<$<NOT:$<CONFIG:Debug>>:-ffile-prefix-map=${PROJECT_SOURCE_DIR}=.>
  $<$<NOT:$<CONFIG:Debug>>:-ffile-prefix-map=${PROJECT_BINARY_DIR}=build>)
# Without it readdir() fails on a folder with a 64-bit offset or inode, where long has 32 bits.
if(CMAKE_SIZEOF_VOID_P EQUAL 4)
  add_compile_definitions(_FILE_OFFSET_BITS=64)
endif()
if(CMAKE_SYSROOT)
  add_compile_options("-ffile-prefix-map=${CMAKE_SYSROOT}=")
endif()
if(CMAKE_SYSTEM_PROCESSOR STREQUAL aarch64)
  add_compile_options(-mbranch-protection=standard)
elseif(CMAKE_SYSTEM_PROCESSOR STREQUAL x86_64)
  add_compile_options(-fcf-protection)
  # Half a megabyte less to load. Debian 12's linker has it for this architecture alone.
  add_link_options(-Wl,-z,pack-relative-relocs)
endif()
add_link_options(-Wl,--gc-sections -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code)
if(DTE_STATIC)
  # The map names each archive that is linked in: deploy/image/sbom reads it.
  add_link_options(-s "-Wl,-Map=$<TARGET_PROPERTY:NAME>.map")
endif()
