# What `cmake --install` puts where: public headers, the rooms' libraries, the tool, and a package for find_package(wsync).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# The rooms behind wsync::wsync. measure serves the tool alone.
set(installed wsync)
foreach(room base kernels vendor model format plan memory transport codec verify store control report predict sync session)
  if(TARGET wsync_${room})
    list(APPEND installed wsync_${room})
  endif()
endforeach()

install(TARGETS ${installed} EXPORT wsync_targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT wsync_targets NAMESPACE wsync:: FILE wsync-targets.cmake DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/wsync)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/wsync DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET wsync_tool)
  install(TARGETS wsync_tool RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/wsync-config.cmake.in ${PROJECT_BINARY_DIR}/wsync-config.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/wsync)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/wsync-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/wsync-config.cmake ${PROJECT_BINARY_DIR}/wsync-config-version.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/wsync)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
