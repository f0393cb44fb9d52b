# Run by cpack on the folder that becomes the package: strips the program as
# Debian's own tools do, and gives every file the time of SOURCE_DATE_EPOCH, as
# the archive's own header has it.
execute_process(
  COMMAND "${CPACK_DTE_STRIP}" --remove-section=.comment --remove-section=.note
          "${CPACK_TEMPORARY_INSTALL_DIRECTORY}/usr/bin/devicetree-exporter"
  COMMAND_ERROR_IS_FATAL ANY)
if(DEFINED ENV{SOURCE_DATE_EPOCH})
  execute_process(COMMAND find "${CPACK_TEMPORARY_INSTALL_DIRECTORY}" -exec touch -hd "@$ENV{SOURCE_DATE_EPOCH}" {} +
                  COMMAND_ERROR_IS_FATAL ANY)
endif()
